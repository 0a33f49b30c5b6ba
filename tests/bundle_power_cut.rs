//! Every operation of every change fails or loses power once; after each the device starts with exactly one model,
//! and its threshold belongs to it.

#[path = "support/bundles.rs"]
mod bundles;
#[path = "support/cutting_storage.rs"]
mod cutting_storage;

use bundles::{Maker, entry, key_list, mark_of, revoked, rule_out, sign};
use cutting_storage::{Accident, CuttingStorage, Left};
use lightbox::bundle::slots::{SlotState, candidate, confirmed};
use lightbox::bundle::{AfterSelfTest, Policy, Stage, Store, StoreError};

const POLICY: Policy = Policy { unaudited: false, test_keys: false, trial_boots: 3, confirm_after_readings: Some(2) };

/// Starts the device and gives the version of its one model, which must be whole.
#[track_caller]
fn started(storage: &mut CuttingStorage, what: &str) -> (u64, Stage) {
    let mut store = Store::new(storage);
    let running = store.boot(&POLICY).unwrap_or_else(|error| panic!("{what}: {error}"));
    let version = running.bundle.contents().bundle_version;
    let (slot, stage) = (running.slot, running.stage);
    let parts = running.bundle.into_parts();
    let threshold = parts.model.manifest().rule.operating_point.rule_out().get();
    assert_eq!(threshold, rule_out(version), "{what}: the threshold belongs to another model");
    assert_eq!(mark_of(parts.model.network()), Some(version), "{what}: the weights belong to another model");
    let state = store.state().unwrap_or_else(|error| panic!("{what}: {error}"));
    // One runs and at most one more waits or can be gone back to.
    match stage {
        Stage::Trial { .. } => assert_eq!(candidate(&state.slots), Some(slot), "{what}"),
        Stage::Confirmed => assert_eq!(confirmed(&state.slots).first(), Some(&slot), "{what}"),
    }
    assert_eq!(state.slot(slot).bundle().map(|bundle| bundle.bundle_version), Some(version), "{what}");
    (version, stage)
}

/// Does what the device does at every start: boot and self-test, which passes.
fn start(storage: &mut CuttingStorage) -> Result<(), StoreError> {
    let mut store = Store::new(storage);
    let running = store.boot(&POLICY)?;
    assert_eq!(store.report_self_test(running.slot, Ok(()))?, AfterSelfTest::Run);
    Ok(())
}

/// A device with `version` confirmed in one slot.
fn device_with(maker: &Maker, version: u64) -> CuttingStorage {
    let mut storage = CuttingStorage::default();
    Store::new(&mut storage).create(&maker.list()).expect("created");
    Store::new(&mut storage).stage(maker.verified(version), None, &POLICY).expect("staged");
    start(&mut storage).expect("started");
    Store::new(&mut storage).confirm().expect("confirmed");
    storage.restarted(Left::Old)
}

fn on_trial(maker: &Maker, from: u64, to: u64) -> CuttingStorage {
    let mut storage = device_with(maker, from);
    Store::new(&mut storage).stage(maker.verified(to), None, &POLICY).expect("staged");
    start(&mut storage).expect("started");
    storage.restarted(Left::Old)
}

type Change<'a> = &'a dyn Fn(&mut CuttingStorage) -> Result<(), StoreError>;

/// Runs `change` with every accident at every operation, and a second cut at every operation of the start after it.
///
/// `allowed` are the versions that may run afterwards; `again` has to lead to `end` from wherever the accident led.
#[track_caller]
fn prove(name: &str, device: &CuttingStorage, change: Change, allowed: &[u64], again: Change, end: u64) {
    let mut whole = device.with(usize::MAX, Accident::PowerCut);
    change(&mut whole).expect("the change works without an accident");
    let operations = whole.operations;
    assert!(operations > 0);
    let mut states = 0;
    for accident in [Accident::FailsOnce, Accident::FailsFromThen, Accident::PowerCut] {
        for at in 0..operations {
            let mut hit = device.with(at, accident);
            let outcome = change(&mut hit);
            assert!(hit.struck(), "{name}: operation {at} was not reached");
            if accident == Accident::PowerCut {
                // A change that says that it was made is never lost.
                assert!(outcome.is_err() || at + 7 > operations, "{name}: operation {at} was not missed");
            }
            for left in Left::ALL {
                let what = format!("{name}, {accident:?} at {at} of {operations}, {left:?} left");
                let mut after = hit.restarted(left);
                let second = after.clone();
                let (version, _) = started(&mut after, &what);
                assert!(allowed.contains(&version), "{what}: version {version} runs");
                states += 1;
                again(&mut after).unwrap_or_else(|error| panic!("{what}, once more: {error}"));
                let (version, _) = started(&mut after, &format!("{what}, once more"));
                assert_eq!(version, end, "{what}, once more");

                if matches!(left, Left::Old | Left::New | Left::Torn) && accident == Accident::PowerCut {
                    let mut counted = second.with(usize::MAX, Accident::PowerCut);
                    start(&mut counted).unwrap_or_else(|error| panic!("{what}: {error}"));
                    for then in 0..counted.operations {
                        let mut cut = second.with(then, Accident::PowerCut);
                        assert!(start(&mut cut).is_err() || then + 4 > counted.operations);
                        for left in [Left::Old, Left::New, Left::Torn] {
                            let what = format!("{what}, cut again at {then}, {left:?} left");
                            let (version, _) = started(&mut cut.restarted(left), &what);
                            assert!(allowed.contains(&version), "{what}: version {version} runs");
                            states += 1;
                        }
                    }
                }
            }
        }
    }
    println!("{name}: {operations} operations, {states} states tried, each with exactly one usable model");
}

#[test]
fn an_install_cut_anywhere_keeps_a_model_that_starts() {
    let maker = Maker::new();
    let device = device_with(&maker, 1);
    let install = |storage: &mut CuttingStorage| {
        // Whatever was left is replaced, as a technician would.
        if candidate(&Store::new(storage).state()?.slots).is_some() {
            Store::new(storage).roll_back(&POLICY)?;
        }
        Store::new(storage).stage(maker.verified(2), None, &POLICY).map(|_| ())
    };
    prove("install", &device, &install, &[1, 2], &install, 2);
}

#[test]
fn an_install_over_an_older_confirmed_model_cut_anywhere_keeps_a_model_that_starts() {
    let maker = Maker::new();
    let mut device = on_trial(&maker, 1, 2);
    Store::new(&mut device).confirm().expect("confirmed");
    let device = device.restarted(Left::Old);
    let install = |storage: &mut CuttingStorage| {
        if candidate(&Store::new(storage).state()?.slots).is_some() {
            Store::new(storage).roll_back(&POLICY)?;
        }
        Store::new(storage).stage(maker.verified(3), None, &POLICY).map(|_| ())
    };
    prove("install over an older one", &device, &install, &[2, 3], &install, 3);
}

#[test]
fn the_start_of_a_trial_cut_anywhere_keeps_a_model_that_starts() {
    let maker = Maker::new();
    let mut device = device_with(&maker, 1);
    Store::new(&mut device).stage(maker.verified(2), None, &POLICY).expect("staged");
    prove("start of a trial", &device.restarted(Left::Old), &start, &[1, 2], &|_| Ok(()), 2);
}

#[test]
fn a_confirmation_cut_anywhere_keeps_a_model_that_starts() {
    let maker = Maker::new();
    let confirm = |storage: &mut CuttingStorage| Store::new(storage).confirm().map(|_| ());
    let again = |storage: &mut CuttingStorage| match Store::new(storage).confirm() {
        Ok(_) | Err(StoreError::NoTrial) => Ok(()),
        Err(error) => Err(error),
    };
    prove("confirm", &on_trial(&maker, 1, 2), &confirm, &[2], &again, 2);
    let readings = |storage: &mut CuttingStorage| {
        while !Store::new(storage).report_reading(&POLICY)? {}
        Ok(())
    };
    let again = |storage: &mut CuttingStorage| {
        if candidate(&Store::new(storage).state()?.slots).is_some() {
            while !Store::new(storage).report_reading(&POLICY)? {}
        }
        Ok(())
    };
    prove("confirm by good readings", &on_trial(&maker, 1, 2), &readings, &[2], &again, 2);
}

#[test]
fn a_rollback_cut_anywhere_keeps_a_model_that_starts() {
    let maker = Maker::new();
    let roll_back = |storage: &mut CuttingStorage| Store::new(storage).roll_back(&POLICY).map(|_| ());
    let again = |storage: &mut CuttingStorage| match Store::new(storage).roll_back(&POLICY) {
        Ok(_) | Err(StoreError::NoOther) => Ok(()),
        Err(error) => Err(error),
    };
    let trial = on_trial(&maker, 1, 2);
    prove("rollback of a trial", &trial, &roll_back, &[1, 2], &again, 1);
    let mut both = trial;
    Store::new(&mut both).confirm().expect("confirmed");
    prove("rollback of a confirmed model", &both.restarted(Left::Old), &roll_back, &[1, 2], &again, 1);
    let failed = |storage: &mut CuttingStorage| {
        let slot = candidate(&Store::new(storage).state()?.slots).ok_or(StoreError::NoTrial)?;
        let after = Store::new(storage).report_self_test(slot, Err("wrong answer".to_owned()))?;
        assert_eq!(after, AfterSelfTest::BootAgain);
        Ok(())
    };
    let again = |storage: &mut CuttingStorage| match failed(storage) {
        Err(StoreError::NoTrial) => Ok(()),
        other => other,
    };
    prove("failed self-test", &on_trial(&maker, 1, 2), &failed, &[1, 2], &again, 1);
}

#[test]
fn a_new_key_list_cut_anywhere_keeps_a_model_that_starts_and_a_list_that_holds() {
    let maker = Maker::new();
    let list = key_list(
        2,
        &[
            entry("root", "root", &maker.root),
            revoked(entry("release 1", "release", &maker.release)),
            entry("release 2", "release", &maker.spare),
        ],
        1,
    );
    let signatures = sign(&list, &[&maker.root]);
    let replace =
        |storage: &mut CuttingStorage| Store::new(storage).replace_key_list(&list, &signatures, &POLICY).map(|_| ());
    let again = |storage: &mut CuttingStorage| {
        if Store::new(storage).trusted()?.version() == 1 {
            replace(storage)?;
        }
        assert_eq!(Store::new(storage).trusted()?.version(), 2);
        Ok(())
    };
    prove("new key list", &device_with(&maker, 1), &replace, &[1], &again, 1);
    // What is on trial under the revoked key is given up in the same step.
    prove("new key list under a trial", &on_trial(&maker, 1, 2), &replace, &[1, 2], &again, 1);
}

#[test]
fn the_move_from_the_factory_model_into_the_slots_cut_anywhere_can_be_finished() {
    let maker = Maker::new();
    // What the start does as long as nothing is confirmed: the factory's files lie outside the store.
    let adopt = |storage: &mut CuttingStorage| {
        match Store::new(storage).create(&maker.list()) {
            Ok(()) | Err(StoreError::Exists) => {}
            Err(error) => return Err(error),
        }
        let state = Store::new(storage).state()?;
        if confirmed(&state.slots).is_empty() && candidate(&state.slots).is_none() {
            Store::new(storage).stage(maker.verified(1), None, &POLICY)?;
        }
        start(storage)?;
        match Store::new(storage).confirm() {
            Ok(_) | Err(StoreError::NoTrial) => Ok(()),
            Err(error) => Err(error),
        }
    };
    let empty = CuttingStorage::default();
    let mut whole = empty.with(usize::MAX, Accident::PowerCut);
    adopt(&mut whole).expect("the move works without an accident");
    let (operations, mut states) = (whole.operations, 0);
    for accident in [Accident::FailsOnce, Accident::FailsFromThen, Accident::PowerCut] {
        for at in 0..operations {
            let mut hit = empty.with(at, accident);
            // Its outcome is what the next start finds.
            let _ = adopt(&mut hit);
            for left in Left::ALL {
                let what = format!("move, {accident:?} at {at} of {operations}, {left:?} left");
                let mut after = hit.restarted(left);
                adopt(&mut after).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(started(&mut after, &what), (1, Stage::Confirmed), "{what}");
                states += 1;
            }
        }
    }
    println!("move into the slots: {operations} operations, {states} states tried, each ends with the model confirmed");
}

#[test]
fn a_trial_that_crashes_at_every_start_is_left_for_the_confirmed_model() {
    let maker = Maker::new();
    let mut storage = device_with(&maker, 1);
    Store::new(&mut storage).stage(maker.verified(2), None, &POLICY).expect("staged");
    for left in [2, 1, 0] {
        let stage = Stage::Trial { boots_left: left, self_tested: false };
        assert_eq!(started(&mut storage, "trial"), (2, stage));
        storage = storage.restarted(Left::Old);
    }
    assert_eq!(started(&mut storage, "given up"), (1, Stage::Confirmed));
    let state = Store::new(&mut storage).state().expect("readable");
    assert!(state.slots.iter().any(|slot| matches!(slot, SlotState::Failed { .. })));
}

#[test]
fn a_record_that_rots_in_one_copy_is_read_from_the_other_and_in_both_is_never_guessed() {
    let maker = Maker::new();
    let device = on_trial(&maker, 1, 2);
    for copy in ["state-0", "state-1"] {
        let mut one = device.clone();
        one.plant(copy, b"rotten");
        assert_eq!(started(&mut one, copy).0, 2);
    }
    let mut both = device.clone();
    both.plant("state-0", b"rotten");
    both.plant("state-1", b"");
    let error = Store::new(&mut both).boot(&POLICY).expect_err("no guess").to_string();
    assert!(error.contains("nothing is started from a guess: `lightbox bundle recover`"), "{error}");
    // The way out: the older bundle counts as good, the newer one is tried again.
    Store::new(&mut both).recover(&maker.list()).expect("recovered");
    assert_eq!(started(&mut both, "recovered"), (2, Stage::Trial { boots_left: 2, self_tested: false }));
    Store::new(&mut both).roll_back(&POLICY).expect("rolled back");
    assert_eq!(started(&mut both, "rolled back"), (1, Stage::Confirmed));
    let mut foreign = device.clone();
    let record = String::from_utf8(foreign.contents()["state-1"].clone()).expect("text");
    foreign.plant("state-1", record.replacen("lightbox-state 1", "lightbox-state 9", 1).as_bytes());
    let error = Store::new(&mut foreign).boot(&POLICY).expect_err("no guess").to_string();
    assert!(error.contains("state-1 was not written by this program: it has form 9"), "{error}");
}

#[test]
fn a_bundle_that_rots_in_its_slot_is_given_up_for_the_other() {
    let maker = Maker::new();
    let mut device = on_trial(&maker, 1, 2);
    Store::new(&mut device).confirm().expect("confirmed");
    let mut rotten = device.contents()["slot-b.lbx"].clone();
    let middle = rotten.len() / 2;
    rotten[middle] ^= 1;
    device.plant("slot-b.lbx", &rotten);
    assert_eq!(started(&mut device, "rotten"), (1, Stage::Confirmed));
    device.plant("slot-a.lbx", &rotten);
    let error = Store::new(&mut device).boot(&POLICY).expect_err("nothing left").to_string();
    assert!(error.starts_with("no model can be used: slot a was given up: the signature by key"), "{error}");
}
