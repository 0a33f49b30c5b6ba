//! What is made of a reading for an archive, and why the archive may not have it.

/// A DICOM object that is made of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// A structured report.
    Report,
    /// A picture of the verdict's screen.
    Capture,
}

impl What {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Report, Self::Capture];

    /// The name in the journal and in configurations; never renamed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Capture => "capture",
        }
    }

    /// The kind of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.name() == name)
    }
}

/// Why an archive has not taken what waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArchiveTrouble {
    /// Its name leads to no address.
    NoAddress,
    /// It cannot be connected to, or the connection breaks.
    Unreachable,
    /// Its certificate or this device's is not accepted, or cannot be used.
    Certificate,
    /// It rejects the association: it does not know this device, or is called otherwise.
    Rejected,
    /// It takes no objects of this kind.
    NotAccepted,
    /// It has no room for more.
    NoRoom,
    /// It answers with another failure, or with what is not due.
    WrongAnswer,
    /// What waits cannot be looked up or written down here.
    Queue,
}

impl ArchiveTrouble {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::NoAddress,
        Self::Unreachable,
        Self::Certificate,
        Self::Rejected,
        Self::NotAccepted,
        Self::NoRoom,
        Self::WrongAnswer,
        Self::Queue,
    ];
}
