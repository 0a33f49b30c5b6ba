//! What a person presses, and what the lamps say.

/// What a person pressed, whatever it was pressed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// To the entry before, or back by one page.
    Previous,
    /// To the next entry or page.
    Next,
    /// Opens, confirms, starts.
    Select,
    /// Leaves the screen.
    Back,
}

impl Key {
    /// Every key.
    pub const ALL: [Self; 4] = [Self::Previous, Self::Next, Self::Select, Self::Back];

    /// As the configuration spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Previous => "previous",
            Self::Next => "next",
            Self::Select => "select",
            Self::Back => "back",
        }
    }

    /// The key that the configuration spells so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }
}

/// How a lamp shines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Light {
    /// Dark.
    Off,
    /// On all the time.
    Steady,
    /// On and off, once a second.
    Blinking,
}

/// What a lamp tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LampRole {
    /// A film may come.
    Ready,
    /// A film is being received or read.
    Busy,
    /// Somebody should look at the panel.
    Attention,
    /// The device cannot do its work.
    Fault,
}

impl LampRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Busy, Self::Attention, Self::Fault];

    /// As the configuration spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Attention => "attention",
            Self::Fault => "fault",
        }
    }

    /// The role that the configuration spells so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_they_name() {
        for key in Key::ALL {
            assert_eq!(Key::named(key.name()), Some(key));
        }
        for role in LampRole::ALL {
            assert_eq!(LampRole::named(role.name()), Some(role));
        }
        assert_eq!((Key::named("Next"), LampRole::named("")), (None, None));
    }
}
