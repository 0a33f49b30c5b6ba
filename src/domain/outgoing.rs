//! What is made of a reading for an archive.

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
