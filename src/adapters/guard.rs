//! Keeps a fault inside a codec from taking the program down.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::domain::{Reason, Rejection};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `decode`; a panic inside becomes a `corrupt` rejection that names the `codec`.
///
/// The message of such a panic is not printed, those of all other threads are. Only panics are caught: a codec that
/// aborts or asks for too much memory is not, so lengths are checked before it is called.
pub(crate) fn guarded<T>(codec: &str, decode: impl FnOnce() -> Result<T, Rejection>) -> Result<T, Rejection> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                print(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    // What `decode` holds is dropped by the unwinding and not looked at afterwards.
    let outcome = panic::catch_unwind(AssertUnwindSafe(decode));
    GUARDED.set(outer);
    outcome.unwrap_or_else(|fault| {
        let said = fault
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| fault.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Rejection::new(Reason::Corrupt, format!("the {codec} decoder stopped: {said}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_a_codec_becomes_a_corrupt_rejection() {
        let rejection = guarded::<()>("XYZ", || panic!("index {} out of range", 7)).unwrap_err();
        assert_eq!(rejection.reason, Reason::Corrupt);
        assert_eq!(rejection.detail, "the XYZ decoder stopped: index 7 out of range");
        assert_eq!(guarded("XYZ", || Ok(3)), Ok(3));
    }
}
