//! The two places for a model and what may become of each: the whole state machine, without storage.

use std::fmt;

/// One of the two places for a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The name in files, records and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// 0 or 1.
    pub fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// The one that this is not.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which bundle a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleId {
    /// Name of the model.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// The number that the ratchet goes by.
    pub bundle_version: u64,
    /// Digest of the whole file, lower-case hexadecimal.
    pub sha256: String,
    /// Public keys whose signatures fitted, in base64.
    pub signers: Vec<String>,
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (bundle version {})", self.name, self.version, self.bundle_version)
    }
}

/// Why a slot cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Writing began and has not been finished.
    Unfinished,
    /// The bytes are not those that were accepted.
    Damaged(String),
    /// The network does not answer the golden films as it should.
    SelfTest(String),
    /// It was started as often as a trial may be and never confirmed.
    BootsUsedUp,
    /// It gave no answer, or the program ended under it.
    Fault(String),
    /// A person went back.
    RolledBack,
    /// Its signers are no longer trusted.
    Revoked(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfinished => f.write_str("writing was not finished"),
            Self::Damaged(detail) => write!(f, "damaged: {detail}"),
            Self::SelfTest(detail) => write!(f, "self-test: {detail}"),
            Self::BootsUsedUp => f.write_str("started as often as a trial may be, and never confirmed"),
            Self::Fault(detail) => write!(f, "fault: {detail}"),
            Self::RolledBack => f.write_str("rolled back"),
            Self::Revoked(detail) => write!(f, "signers no longer trusted: {detail}"),
        }
    }
}

/// What is known of one slot.
///
/// ```text
///           WriteBegins            Written              TrialBegins                Confirm, ReadingDone
///   Empty ─────────────► Failed ────────────► Staged ─────────────► Trial ──────────────────────────► Confirmed
///                          ▲  ▲  (Unfinished)    │                 ▲ │ │ │                                 │
///                          │  └──── Fail ────────┘   Booted while  └─┘ │ │  Booted with boots_left 0        │
///                          │                         boots are left    │ │                                 │
///                          │◄──────────────── Fail ────────────────────┘ │                                 │
///                          │◄────────────────────────────────────────────┘                                 │
///                          └◄──────────────── Fail, WriteBegins (only where it is not the running model) ──┘
/// ```
///
/// Of two confirmed slots the one confirmed later is the running model; the other can be gone back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Never written.
    Empty,
    /// Written, synced, read back and verified; not started yet.
    Staged {
        /// What is in it.
        bundle: BundleId,
    },
    /// Started, not yet confirmed.
    Trial {
        /// What is in it.
        bundle: BundleId,
        /// How often it may still be started.
        boots_left: u8,
        /// Whether it answered the golden films as it should.
        self_tested: bool,
        /// Films read without a fault.
        good_readings: u32,
    },
    /// Good.
    Confirmed {
        /// What is in it.
        bundle: BundleId,
        /// Generation of the state in which it was confirmed.
        since: u64,
    },
    /// Not to be used.
    Failed {
        /// What is in it, where that is known.
        bundle: Option<BundleId>,
        /// Why.
        why: Failure,
    },
}

impl SlotState {
    /// The tag in records and messages; never renamed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Staged { .. } => "staged",
            Self::Trial { .. } => "trial",
            Self::Confirmed { .. } => "confirmed",
            Self::Failed { .. } => "failed",
        }
    }

    /// What is in the slot, as far as it is known.
    pub fn bundle(&self) -> Option<&BundleId> {
        match self {
            Self::Empty => None,
            Self::Staged { bundle } | Self::Trial { bundle, .. } | Self::Confirmed { bundle, .. } => Some(bundle),
            Self::Failed { bundle, .. } => bundle.as_ref(),
        }
    }
}

/// What happens to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotEvent {
    /// Something is about to be written over what is there.
    WriteBegins,
    /// This bundle was written, synced, read back and verified.
    Written(BundleId),
    /// The slot is to be started, so many times at most.
    TrialBegins {
        /// How often.
        boots: u8,
    },
    /// The device starts with it.
    Booted,
    /// It answered the golden films as it should.
    SelfTestPassed,
    /// It read a film without a fault.
    ReadingDone {
        /// How many make it good; `None` when only a person does.
        confirm_after: Option<u32>,
        /// Generation of the state that this leads to.
        generation: u64,
    },
    /// A person says that it is good.
    Confirm {
        /// Generation of the state that this leads to.
        generation: u64,
    },
    /// It is not to be used.
    Fail(Failure),
}

impl SlotEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::WriteBegins => "write",
            Self::Written(_) => "finish writing",
            Self::TrialBegins { .. } => "start the trial of",
            Self::Booted => "count a start of",
            Self::SelfTestPassed => "pass the self-test of",
            Self::ReadingDone { .. } => "count a reading of",
            Self::Confirm { .. } => "confirm",
            Self::Fail(_) => "give up",
        }
    }
}

/// An event that cannot happen in a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// Not from that state.
    #[error("cannot {event} a slot that is {state}")]
    Impossible {
        /// The state's name.
        state: &'static str,
        /// What was tried.
        event: &'static str,
    },
    /// On trial, but the golden films have not been read.
    #[error("cannot {event} a slot on trial whose self-test has not passed")]
    Untested {
        /// What was tried.
        event: &'static str,
    },
}

/// What becomes of a slot.
///
/// # Errors
/// When the event cannot happen in that state.
pub fn transition(state: SlotState, event: SlotEvent) -> Result<SlotState, TransitionError> {
    use SlotEvent as E;
    use SlotState as S;
    let impossible = Err(TransitionError::Impossible { state: state.name(), event: event.name() });
    let untested = Err(TransitionError::Untested { event: event.name() });
    match (state, event) {
        (S::Empty | S::Staged { .. } | S::Confirmed { .. } | S::Failed { .. }, E::WriteBegins) => {
            Ok(S::Failed { bundle: None, why: Failure::Unfinished })
        }
        (S::Failed { why: Failure::Unfinished, .. }, E::Written(bundle)) => Ok(S::Staged { bundle }),
        (S::Staged { bundle }, E::TrialBegins { boots }) => {
            Ok(S::Trial { bundle, boots_left: boots, self_tested: false, good_readings: 0 })
        }
        (S::Trial { bundle, boots_left: 0, .. }, E::Booted) => {
            Ok(S::Failed { bundle: Some(bundle), why: Failure::BootsUsedUp })
        }
        (S::Trial { bundle, boots_left, self_tested, good_readings }, E::Booted) => {
            Ok(S::Trial { bundle, boots_left: boots_left - 1, self_tested, good_readings })
        }
        (S::Trial { bundle, boots_left, good_readings, .. }, E::SelfTestPassed) => {
            Ok(S::Trial { bundle, boots_left, self_tested: true, good_readings })
        }
        (S::Trial { self_tested: false, .. }, E::ReadingDone { .. } | E::Confirm { .. }) => untested,
        (
            S::Trial { bundle, boots_left, self_tested: true, good_readings },
            E::ReadingDone { confirm_after, generation },
        ) => {
            let good_readings = good_readings.saturating_add(1);
            if confirm_after.is_some_and(|needed| good_readings >= needed) {
                return Ok(S::Confirmed { bundle, since: generation });
            }
            Ok(S::Trial { bundle, boots_left, self_tested: true, good_readings })
        }
        (S::Trial { bundle, self_tested: true, .. }, E::Confirm { generation }) => {
            Ok(S::Confirmed { bundle, since: generation })
        }
        (S::Staged { bundle } | S::Trial { bundle, .. } | S::Confirmed { bundle, .. }, E::Fail(why)) => {
            Ok(S::Failed { bundle: Some(bundle), why })
        }
        (S::Trial { .. }, E::WriteBegins | E::Written(_) | E::TrialBegins { .. })
        | (S::Empty | S::Failed { .. }, E::Fail(_))
        | (S::Empty | S::Staged { .. } | S::Confirmed { .. } | S::Failed { .. }, E::Written(_))
        | (S::Empty | S::Confirmed { .. } | S::Failed { .. }, E::TrialBegins { .. })
        | (
            S::Empty | S::Staged { .. } | S::Confirmed { .. } | S::Failed { .. },
            E::Booted | E::SelfTestPassed | E::ReadingDone { .. } | E::Confirm { .. },
        ) => impossible,
    }
}

/// The confirmed slots, the running one first.
pub fn confirmed(slots: &[SlotState; 2]) -> Vec<Slot> {
    let since = |slot: &Slot| match &slots[slot.index()] {
        SlotState::Confirmed { since, .. } => Some(*since),
        SlotState::Empty | SlotState::Staged { .. } | SlotState::Trial { .. } | SlotState::Failed { .. } => None,
    };
    let mut found: Vec<Slot> = Slot::ALL.into_iter().filter(|slot| since(slot).is_some()).collect();
    found.sort_by_key(|slot| std::cmp::Reverse(since(slot)));
    found
}

/// The slot that is staged or on trial.
pub fn candidate(slots: &[SlotState; 2]) -> Option<Slot> {
    let waiting = |slot: &Slot| match &slots[slot.index()] {
        SlotState::Staged { .. } | SlotState::Trial { .. } => true,
        SlotState::Empty | SlotState::Confirmed { .. } | SlotState::Failed { .. } => false,
    };
    Slot::ALL.into_iter().find(waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(version: u64) -> BundleId {
        BundleId {
            name: "example".into(),
            version: "1.0.0".into(),
            bundle_version: version,
            sha256: format!("{version:064x}"),
            signers: vec!["key".into()],
        }
    }

    fn states() -> Vec<SlotState> {
        let trial =
            |boots_left, self_tested| SlotState::Trial { bundle: bundle(1), boots_left, self_tested, good_readings: 0 };
        vec![
            SlotState::Empty,
            SlotState::Staged { bundle: bundle(1) },
            trial(2, false),
            trial(0, false),
            trial(2, true),
            trial(0, true),
            SlotState::Confirmed { bundle: bundle(1), since: 5 },
            SlotState::Failed { bundle: None, why: Failure::Unfinished },
            SlotState::Failed { bundle: Some(bundle(1)), why: Failure::RolledBack },
        ]
    }

    fn events() -> Vec<SlotEvent> {
        vec![
            SlotEvent::WriteBegins,
            SlotEvent::Written(bundle(2)),
            SlotEvent::TrialBegins { boots: 3 },
            SlotEvent::Booted,
            SlotEvent::SelfTestPassed,
            SlotEvent::ReadingDone { confirm_after: Some(1), generation: 9 },
            SlotEvent::ReadingDone { confirm_after: None, generation: 9 },
            SlotEvent::Confirm { generation: 9 },
            SlotEvent::Fail(Failure::Fault("x".into())),
        ]
    }

    #[test]
    fn confirmed_is_reached_only_from_a_trial_that_passed_its_self_test() {
        let mut reached = 0;
        for state in states() {
            for event in events() {
                if let Ok(SlotState::Confirmed { bundle: b, .. }) = transition(state.clone(), event.clone()) {
                    assert!(matches!(state, SlotState::Trial { self_tested: true, .. }), "{state:?} {event:?}");
                    assert_eq!(Some(&b), state.bundle());
                    reached += 1;
                }
            }
        }
        assert_eq!(reached, 4);
    }

    #[test]
    fn a_trial_is_never_written_over_and_writing_always_leaves_a_mark() {
        for state in states() {
            let after = transition(state.clone(), SlotEvent::WriteBegins);
            match state {
                SlotState::Trial { .. } => {
                    assert_eq!(after.expect_err("a refusal").to_string(), "cannot write a slot that is trial");
                }
                _ => assert_eq!(after, Ok(SlotState::Failed { bundle: None, why: Failure::Unfinished })),
            }
        }
    }

    #[test]
    fn a_trial_is_started_as_often_as_was_said_and_then_given_up() {
        let mut state = SlotState::Staged { bundle: bundle(1) };
        state = transition(state, SlotEvent::TrialBegins { boots: 3 }).expect("begins");
        for left in [2, 1, 0] {
            state = transition(state, SlotEvent::Booted).expect("another start");
            assert!(matches!(state, SlotState::Trial { boots_left, .. } if boots_left == left));
        }
        state = transition(state, SlotEvent::Booted).expect("the last");
        assert_eq!(state, SlotState::Failed { bundle: Some(bundle(1)), why: Failure::BootsUsedUp });
    }

    #[test]
    fn good_readings_confirm_where_the_policy_says_so() {
        let mut state = states()[4].clone();
        let reading = SlotEvent::ReadingDone { confirm_after: Some(3), generation: 9 };
        for _ in 0..2 {
            state = transition(state, reading.clone()).expect("counted");
            assert_eq!(state.name(), "trial");
        }
        assert_eq!(transition(state, reading), Ok(SlotState::Confirmed { bundle: bundle(1), since: 9 }));
    }

    #[test]
    fn an_untested_trial_cannot_be_confirmed() {
        let error = transition(states()[2].clone(), SlotEvent::Confirm { generation: 9 }).expect_err("a refusal");
        assert_eq!(error.to_string(), "cannot confirm a slot on trial whose self-test has not passed");
        let error = transition(SlotState::Empty, SlotEvent::Confirm { generation: 9 }).expect_err("a refusal");
        assert_eq!(error.to_string(), "cannot confirm a slot that is empty");
    }

    #[test]
    fn of_two_confirmed_slots_the_later_runs() {
        let confirmed_at = |since| SlotState::Confirmed { bundle: bundle(1), since };
        assert_eq!(confirmed(&[confirmed_at(3), confirmed_at(7)]), [Slot::B, Slot::A]);
        assert_eq!(confirmed(&[confirmed_at(3), SlotState::Empty]), [Slot::A]);
        assert_eq!(candidate(&[confirmed_at(3), states()[2].clone()]), Some(Slot::B));
        assert_eq!(candidate(&[confirmed_at(3), SlotState::Empty]), None);
    }
}
