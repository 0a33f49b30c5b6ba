//! The power goes at any write or sync of the journal, and its disk fails at any call: a row whose append returned is
//! there afterwards, with its objects in the queue, in a chain that is whole.
#![cfg(feature = "device")]

#[path = "support/cutting_vfs.rs"]
mod cutting_vfs;
#[path = "support/rows.rs"]
mod rows;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use cutting_vfs::{Fault, Files, Left, Op, after_cut, boot, calls, files, say, trace};
use lightbox::domain::What;
use lightbox::record::{Entry, Journal, JournalError, QueueState, Tried, sop_uid_of};

const JOURNAL: &str = "/device/journal.db";

/// There is one machine for all tests of this file.
static MACHINE: Mutex<()> = Mutex::new(());

fn open() -> Result<Journal, JournalError> {
    Journal::open_or_create(Path::new(JOURNAL))
}

/// So long that a row takes more than a page.
fn entry(number: i64) -> Entry {
    Entry { remarks: vec!["a remark that repeats itself; ".repeat(160)], ..rows::entry(number) }
}

/// Something that the journal was asked for or has promised.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    /// A film is being written down.
    Appending(i64),
    Appended(i64),
    /// Rows but for so many are being taken out.
    Retaining(u64),
    Retained(u64),
    /// Identifiers of the rows up to here are being erased.
    Erasing(i64),
    Erased(i64),
    /// The object of that row is being marked.
    Marking(i64, What, QueueState),
    Marked(i64, What, QueueState),
}

/// What a journal is put through, with all that it has promised.
struct Course {
    events: Vec<Event>,
    journal: Option<Journal>,
}

impl Course {
    fn said(&mut self, event: Event) {
        say(self.events.len() as u64);
        self.events.push(event);
    }

    /// Does something on an open journal; where it cannot be opened or fails nothing is promised.
    fn step<T>(&mut self, before: Event, after: Event, work: impl FnOnce(&mut Journal) -> Result<T, JournalError>) {
        if self.journal.is_none() {
            self.journal = open().ok();
        }
        self.said(before);
        if let Some(journal) = &mut self.journal
            && work(journal).is_ok()
        {
            self.said(after);
        }
    }

    fn append(&mut self, number: i64) {
        self.step(Event::Appending(number), Event::Appended(number), |journal| {
            journal.append_to_send(&entry(number), &What::ALL)
        });
    }

    fn mark(&mut self, number: i64, what: What, state: QueueState) {
        self.step(Event::Marking(number, what, state), Event::Marked(number, what, state), |journal| {
            let queue = journal.queue(None)?;
            // It is not there where its row could not be written.
            let row = journal.find_image(&format!("film-{number}"))?;
            let sequence = row.map_or(-1, |row| row.sequence);
            let Some(object) = queue.into_iter().find(|object| object.sequence == sequence && object.what == what)
            else {
                return Err(JournalError::Missing(JOURNAL.into()));
            };
            journal.tried(&object, &Tried { state, status: Some(0), told: None }, 0)
        });
    }

    fn retain(&mut self, kept: u64) {
        self.step(Event::Retaining(kept), Event::Retained(kept), |journal| journal.retain(kept));
    }

    fn erase(&mut self, up_to: i64) {
        self.step(Event::Erasing(up_to), Event::Erased(up_to), |journal| journal.erase_identities(up_to, false));
    }

    /// As when the program ends in good order: the log goes into the database.
    fn close(&mut self) {
        self.journal = None;
    }
}

/// What has to be found after some events.
#[derive(Default)]
struct Expected {
    /// Films whose row is there, and that may be there: with the states that each object may be in.
    surely: BTreeMap<i64, BTreeMap<What, BTreeSet<&'static str>>>,
    perhaps: BTreeMap<i64, BTreeMap<What, BTreeSet<&'static str>>>,
    /// Films whose rows are gone once it is said that rows were taken out.
    going: Vec<i64>,
    /// Films whose identifiers may be erased, and those whose are.
    erasing: BTreeSet<i64>,
    erased: BTreeSet<i64>,
}

impl Expected {
    fn after(events: &[Event]) -> Self {
        let mut expected = Self::default();
        let fresh = || What::ALL.map(|what| (what, BTreeSet::from(["waits"]))).into_iter().collect::<BTreeMap<_, _>>();
        for event in events {
            match event {
                Event::Appending(number) => {
                    expected.perhaps.insert(*number, fresh());
                }
                Event::Appended(number) => {
                    let states = expected.perhaps.remove(number).expect("it was being written");
                    expected.surely.insert(*number, states);
                }
                Event::Retaining(kept) => {
                    expected.going = expected.leaving(*kept);
                    for number in expected.perhaps_leaving(*kept) {
                        if let Some(states) = expected.surely.remove(&number) {
                            expected.perhaps.insert(number, states);
                        }
                    }
                }
                Event::Retained(_) => {
                    for number in std::mem::take(&mut expected.going) {
                        expected.perhaps.remove(&number);
                    }
                }
                Event::Erasing(up_to) => expected.erasing.extend(1..=*up_to),
                Event::Erased(up_to) => {
                    let settled = expected.surely.iter().filter(|(number, _)| *number <= up_to);
                    let settled = settled.filter(|(_, row)| row.values().all(|states| !states.contains("waits")));
                    let settled: Vec<i64> = settled.map(|(number, _)| *number).collect();
                    expected.erased.extend(settled);
                }
                Event::Marking(number, what, state) => {
                    for rows in [&mut expected.surely, &mut expected.perhaps] {
                        if let Some(states) = rows.get_mut(number).and_then(|row| row.get_mut(what)) {
                            states.insert(state.name());
                        }
                    }
                }
                Event::Marked(number, what, state) => {
                    for rows in [&mut expected.surely, &mut expected.perhaps] {
                        if let Some(states) = rows.get_mut(number).and_then(|row| row.get_mut(what)) {
                            *states = BTreeSet::from([state.name()]);
                        }
                    }
                }
            }
        }
        expected
    }

    /// The films that leave when so many are kept: none from the first on that may wait.
    fn leaving(&self, kept: u64) -> Vec<i64> {
        let most = self.surely.len().saturating_sub(kept as usize);
        let settled = |row: &BTreeMap<What, BTreeSet<&str>>| row.values().all(|states| !states.contains("waits"));
        self.surely.iter().take(most).take_while(|(_, row)| settled(row)).map(|(number, _)| *number).collect()
    }

    /// And those that may leave: none from the first on that waits for sure.
    fn perhaps_leaving(&self, kept: u64) -> Vec<i64> {
        let all: BTreeMap<_, _> = self.surely.iter().chain(&self.perhaps).collect();
        let most = all.len().saturating_sub(kept as usize);
        let waits =
            |row: &BTreeMap<What, BTreeSet<&str>>| row.values().any(|states| *states == BTreeSet::from(["waits"]));
        let may_be_absent = |number: &i64| self.perhaps.contains_key(number);
        let leave = all.into_iter().take(most).take_while(|(number, row)| may_be_absent(number) || !waits(row));
        leave.map(|(number, _)| *number).collect()
    }

    /// Holds the journal on these files against it.
    fn check(&self, found: Files, older: usize, told: &dyn Fn() -> String) {
        boot(found, None);
        let mut journal = open().unwrap_or_else(|error| panic!("{}: {error}", told()));
        let sound = journal.verify().expect("readable").unwrap_or_else(|broken| panic!("{}: {broken}", told()));
        let queue = journal.queue(None).expect("readable");
        let found_map = |sequence| journal.map_of(sequence).expect("readable");
        let mut there = BTreeSet::new();
        let mut rows_of_before = 0;
        journal
            .for_each(|row| -> Result<(), JournalError> {
                let reference = row.image_reference.clone().unwrap_or_default();
                let Some(number) = reference.strip_prefix("film-").and_then(|number| number.parse::<i64>().ok()) else {
                    rows_of_before += 1;
                    return Ok(());
                };
                assert!(there.insert(number), "{}: film {number} twice", told());
                let states = self.surely.get(&number).or_else(|| self.perhaps.get(&number));
                let states = states.unwrap_or_else(|| panic!("{}: film {number} from nowhere", told()));
                for (what, states) in states {
                    let object = queue.iter().find(|object| object.sequence == row.sequence && object.what == *what);
                    let object =
                        object.unwrap_or_else(|| panic!("{}: {what:?} of film {number} is not queued", told()));
                    assert_eq!(object.sop_uid, sop_uid_of(&row, *what), "{}", told());
                    let state = object.state.name();
                    assert!(states.contains(state), "{}: {what:?} of {number} {state}, {states:?}", told());
                }
                let map = found_map(row.sequence);
                assert_eq!(map, Some(rows::map(number)), "{}", told());
                let waits =
                    queue.iter().any(|object| object.sequence == row.sequence && object.state == QueueState::Waits);
                match row.identity {
                    Some(identity) => {
                        assert_eq!(identity.patient_id, format!("patient {number}"), "{}", told());
                        assert!(!self.erased.contains(&number), "{}: {number} was erased", told());
                    }
                    None => assert!(self.erasing.contains(&number) && !waits, "{}: {number} was not erased", told()),
                }
                Ok(())
            })
            .expect("readable");
        for number in self.surely.keys() {
            assert!(there.contains(number), "{}: film {number} is lost, there are {there:?}", told());
        }
        assert_eq!(rows_of_before, older, "{}", told());
        assert_eq!(sound.rows as usize, there.len() + older, "{}", told());
        // And it goes on.
        let row =
            journal.append_to_send(&entry(9999), &What::ALL).unwrap_or_else(|error| panic!("{}: {error}", told()));
        assert_eq!(row.sequence, sound.newest + 1, "{}", told());
        let sound = journal.verify().expect("readable");
        assert!(sound.is_ok_and(|sound| sound.newest == row.sequence), "{}", told());
    }
}

/// A course of some name, from which files it starts, with how many rows of an older form, and what is done.
struct Scenario {
    name: &'static str,
    start: Files,
    older: usize,
    /// What had been promised before.
    before: Vec<Event>,
    run: fn(&mut Course),
    /// Cut from a little before the log goes into the database; else from the start.
    from_checkpoint: bool,
}

/// The files that a course leaves, and what it has promised.
fn prepared(start: Files, run: fn(&mut Course)) -> (Files, Vec<Event>) {
    boot(start, None);
    let mut course = Course { events: Vec::new(), journal: None };
    run(&mut course);
    course.close();
    (files(), course.events)
}

fn scenarios() -> Vec<Scenario> {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-form-1.db");
    let old = Files::from([(JOURNAL.to_owned(), fs::read(old).expect("a fixture"))]);
    let (filled, before) = prepared(Files::new(), |course| {
        for number in 1..=12 {
            course.append(number);
        }
        for number in 1..=8 {
            for what in What::ALL {
                course.mark(number, what, if number == 3 { QueueState::Failed } else { QueueState::Sent });
            }
        }
    });
    // With so long a log that it goes into the database while rows are appended.
    let (long, long_before) = prepared(Files::new(), |course| {
        for number in 1..=3 {
            course.append(number);
        }
    });
    vec![
        Scenario {
            name: "a journal is made and goes on after a restart",
            start: Files::new(),
            older: 0,
            before: Vec::new(),
            from_checkpoint: false,
            run: |course| {
                for number in 1..=5 {
                    course.append(number);
                    course.mark(number, What::Report, QueueState::Sent);
                }
                course.close();
                course.append(6);
                course.mark(2, What::Capture, QueueState::Failed);
                course.append(7);
                course.close();
            },
        },
        Scenario {
            name: "an older journal is brought to the present form",
            start: old,
            older: 3,
            before: Vec::new(),
            from_checkpoint: false,
            run: |course| {
                course.append(1);
                course.append(2);
                course.mark(1, What::Report, QueueState::Sent);
                course.close();
            },
        },
        Scenario {
            name: "old rows are taken out",
            start: filled.clone(),
            older: 0,
            before: before.clone(),
            from_checkpoint: false,
            run: |course| {
                course.retain(9);
                course.append(13);
                course.retain(1);
                course.mark(9, What::Report, QueueState::Sent);
                course.mark(9, What::Capture, QueueState::Sent);
                course.append(14);
                course.retain(1);
                course.close();
            },
        },
        Scenario {
            name: "identifiers are erased",
            start: filled,
            older: 0,
            before,
            from_checkpoint: false,
            run: |course| {
                course.erase(4);
                course.append(13);
                course.erase(10);
                course.mark(9, What::Report, QueueState::Sent);
                course.mark(9, What::Capture, QueueState::Sent);
                course.erase(10);
                course.close();
            },
        },
        Scenario {
            name: "the log goes into the database in between",
            start: long,
            older: 0,
            before: long_before,
            from_checkpoint: true,
            run: |course| {
                for number in 4..=120 {
                    course.append(number);
                }
            },
        },
    ]
}

/// The events that were promised in the trace, after those of before.
fn events_in(trace: &[Op], scenario: &Scenario, events: &[Event]) -> Vec<Event> {
    let said = trace.iter().filter_map(|op| match op {
        Op::Said(index) => Some(events[*index as usize].clone()),
        _ => None,
    });
    scenario.before.iter().cloned().chain(said).collect()
}

/// What may be left of what was not synced; the more random ones with other draws at each cut.
const LEFT: [Left; 12] = [
    Left::Nothing,
    Left::All,
    Left::Torn,
    Left::Zeros,
    Left::Prefix(1),
    Left::Prefix(2),
    Left::Prefix(3),
    Left::Some(4),
    Left::Some(5),
    Left::Some(6),
    Left::Some(7),
    Left::Some(8),
];

/// Whether these files and promises are new.
fn is_new(seen: &mut HashSet<u64>, found: &Files, events: usize) -> bool {
    let mut hash = DefaultHasher::new();
    (found, events).hash(&mut hash);
    seen.insert(hash.finish())
}

#[test]
fn a_power_cut_at_any_write_or_sync_loses_no_row_that_was_promised() {
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    let mut all = 0;
    for scenario in scenarios() {
        boot(scenario.start.clone(), None);
        let mut course = Course { events: Vec::new(), journal: None };
        (scenario.run)(&mut course);
        course.close();
        let (trace, events) = (trace(), course.events);
        let done = events_in(&trace, &scenario, &events);
        Expected::after(&done).check(files(), scenario.older, &|| format!("{}: to its end", scenario.name));
        // Where a long log goes into the database is what matters there, and a little before it.
        let is_checkpoint = |op: &Op| matches!(op, Op::Write { file, .. } if file == JOURNAL);
        let first = if scenario.from_checkpoint {
            trace.iter().position(is_checkpoint).expect("the log went into the database").saturating_sub(12)
        } else {
            0
        };
        let (mut seen, mut states) = (HashSet::new(), 0);
        for count in first..=trace.len() {
            let events = events_in(&trace[..count], &scenario, &events);
            for left in LEFT {
                let found = after_cut(&scenario.start, &trace, count, left);
                if is_new(&mut seen, &found, events.len()) {
                    let told =
                        || format!("{}: cut behind operation {count} of {}, {left:?}", scenario.name, trace.len());
                    Expected::after(&events).check(found, scenario.older, &told);
                    states += 1;
                }
            }
        }
        println!("{}: {} operations, {states} states after a cut", scenario.name, trace.len());
        all += states;
    }
    println!("{all} states in {:.1} s", start.elapsed().as_secs_f64());
    assert!(all > 2000, "{all}");
}

/// Runs the scenario on a disk that fails, and holds what is left against what was promised: when only the program is
/// started again, and when the power goes, too. Gives the number of states, and whether anything failed.
fn check_failing(scenario: &Scenario, fault: Fault, seen: &mut HashSet<u64>) -> (usize, bool) {
    boot(scenario.start.clone(), Some(fault));
    let mut course = Course { events: Vec::new(), journal: None };
    (scenario.run)(&mut course);
    course.close();
    let (trace, events, (_, failed)) = (trace(), course.events, calls());
    let events = events_in(&trace, scenario, &events);
    let mut states = 0;
    for left in [Left::All, Left::Nothing, Left::Some(1), Left::Some(2)] {
        let found = after_cut(&scenario.start, &trace, trace.len(), left);
        if is_new(seen, &found, events.len()) {
            let told = || format!("{}: {fault:?}, {left:?}", scenario.name);
            Expected::after(&events).check(found, scenario.older, &told);
            states += 1;
        }
    }
    (states, failed > 0)
}

#[test]
fn a_disk_that_fails_at_any_call_loses_no_row_that_was_promised() {
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    let mut all = 0;
    for scenario in scenarios().into_iter().filter(|scenario| !scenario.from_checkpoint) {
        let (mut seen, mut states, mut runs) = (HashSet::new(), 0, 0);
        // Once, for a while, and for good.
        for (full, duration) in [(false, 1), (false, 4), (false, usize::MAX), (true, 1), (true, 7), (true, usize::MAX)]
        {
            for at in 0.. {
                let (tried, failed) = check_failing(&scenario, Fault { at, calls: duration, full }, &mut seen);
                (states, runs) = (states + tried, runs + 1);
                if !failed {
                    break;
                }
            }
        }
        println!("{}: {runs} runs on a failing disk, {states} states", scenario.name);
        all += states;
    }
    println!("{all} states in {:.1} s", start.elapsed().as_secs_f64());
    assert!(all > 1000, "{all}");
}
