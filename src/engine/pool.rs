//! A fixed set of threads that share the parts of one job, and each thread's scratch memory.
//!
//! With one thread nothing here locks, waits or allocates threads: a job is a plain loop. Which thread takes which
//! part never shows in the result, because a part is computed the same way by all of them.
#![expect(unsafe_code, reason = "lends a job of the caller's to threads that outlive it, and parts of one slice")]

use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use super::kernels::ALIGN;

/// Most threads that a pool has.
pub const MAX_THREADS: usize = 64;

/// How often a waiting thread looks again before it lets others run: a few tens of microseconds, longer than the
/// pauses between two layers and much shorter than those between two films.
const LOOKS: usize = 4_000;

/// A job: a function of the number of a part.
type Job<'a> = &'a (dyn Fn(usize) + Sync);

/// The job as the threads see it.
#[derive(Clone, Copy)]
struct Lent {
    job: Job<'static>,
    parts: usize,
}

struct Shared {
    /// The job of the round; written by the caller only, between rounds.
    lent: std::cell::UnsafeCell<Option<Lent>>,
    /// Counts the rounds; a thread that sees a new number has a job.
    round: AtomicUsize,
    /// The next part that nobody has taken.
    next: AtomicUsize,
    /// Threads, the caller aside, that are not done with the round.
    busy: AtomicUsize,
    /// A part panicked.
    failed: AtomicBool,
    stop: AtomicBool,
    asleep: Vec<AtomicBool>,
}

// SAFETY: `lent` is written only by the caller that holds `Pool::turn`, while `busy` is 0, which each thread lowers
// after its last look at the job; the threads read it only after they saw the new `round`, stored after the write
// with release order. Everything else is atomic.
unsafe impl Sync for Shared {}

impl Shared {
    fn take_parts(&self, lent: Lent) {
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= lent.parts {
                return;
            }
            (lent.job)(part);
        }
    }

    fn serve(&self, me: usize) {
        let mut seen = 0;
        loop {
            let mut looks = 0;
            while self.round.load(Ordering::Acquire) == seen {
                looks += 1;
                if looks < LOOKS {
                    std::hint::spin_loop();
                    continue;
                }
                self.asleep[me].store(true, Ordering::SeqCst);
                // Look once more: the caller stores the round before it asks who sleeps.
                if self.round.load(Ordering::SeqCst) == seen {
                    thread::park();
                }
                self.asleep[me].store(false, Ordering::SeqCst);
                looks = 0;
            }
            seen = seen.wrapping_add(1);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            // SAFETY: this round's job was written before the round that was just seen, and is not taken back before
            // `busy` has been lowered below.
            let lent = unsafe { *self.lent.get() };
            if let Some(lent) = lent
                && catch_unwind(AssertUnwindSafe(|| self.take_parts(lent))).is_err()
            {
                self.failed.store(true, Ordering::Relaxed);
            }
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Threads that wait for work.
pub(super) struct Pool {
    shared: Arc<Shared>,
    /// One job at a time; never touched by a pool of one thread.
    turn: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
    threads: Vec<Thread>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} threads", self.threads())
    }
}

impl Pool {
    /// A pool of `threads` threads, the caller's among them.
    ///
    /// # Errors
    /// When the system has no more threads to give.
    pub(super) fn new(threads: usize) -> std::io::Result<Self> {
        let others = threads.clamp(1, MAX_THREADS) - 1;
        let shared = Arc::new(Shared {
            lent: None.into(),
            round: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            asleep: (0..others).map(|_| AtomicBool::new(false)).collect(),
        });
        let mut pool = Self { shared, turn: Mutex::new(()), workers: Vec::new(), threads: Vec::new() };
        for me in 0..others {
            let shared = Arc::clone(&pool.shared);
            let worker = thread::Builder::new().name(format!("engine-{}", me + 1)).spawn(move || shared.serve(me))?;
            pool.threads.push(worker.thread().clone());
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// How many threads work, the caller's among them.
    pub(super) fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Calls `job` once for each of `0..parts` and returns when all are done.
    ///
    /// # Panics
    /// When a part panics. A part must not call `run` on the same pool.
    pub(super) fn run(&self, parts: usize, job: Job<'_>) {
        if self.threads.is_empty() || parts < 2 {
            (0..parts).for_each(job);
            return;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. `run` does not return, nor unwind, before `busy` is 0, after which no
        // thread touches the job again.
        let job = unsafe { std::mem::transmute::<Job<'_>, Job<'static>>(job) };
        let lent = Lent { job, parts };
        // SAFETY: `busy` is 0, so no thread reads it, and `turn` keeps other callers out.
        unsafe { *shared.lent.get() = Some(lent) };
        shared.next.store(0, Ordering::Relaxed);
        shared.busy.store(self.threads.len(), Ordering::Relaxed);
        shared.round.fetch_add(1, Ordering::SeqCst);
        self.wake();
        let mine = catch_unwind(AssertUnwindSafe(|| shared.take_parts(lent)));
        let mut looks = 0usize;
        while shared.busy.load(Ordering::Acquire) != 0 {
            looks += 1;
            // A thread may have to wait for this very core.
            if looks.is_multiple_of(LOOKS) { thread::yield_now() } else { std::hint::spin_loop() }
        }
        // SAFETY: `busy` is 0 again.
        unsafe { *shared.lent.get() = None };
        if let Err(panic) = mine {
            resume_unwind(panic);
        }
        assert!(!shared.failed.swap(false, Ordering::Relaxed), "a part of the job panicked");
    }

    fn wake(&self) {
        for (asleep, thread) in self.shared.asleep.iter().zip(&self.threads) {
            if asleep.load(Ordering::SeqCst) {
                thread.unpark();
            }
        }
    }

    /// Cuts `values` where `cuts` says, ascending, and calls `job` with the number and the part of each.
    ///
    /// # Panics
    /// When the cuts descend or reach past the end, or a part panics.
    pub(super) fn run_on_parts(
        &self,
        values: &mut [f32],
        parts: usize,
        cut: &(dyn Fn(usize) -> usize + Sync),
        job: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        let mut last = cut(0);
        if self.threads.is_empty() {
            for part in 0..parts {
                let end = cut(part + 1);
                job(part, &mut values[last..end]);
                last = end;
            }
            return;
        }
        let mut bounds = Vec::with_capacity(parts);
        for part in 0..parts {
            let end = cut(part + 1);
            assert!(last <= end && end <= values.len());
            bounds.push(last..end);
            last = end;
        }
        let base = Base(values.as_mut_ptr());
        self.run(parts, &|part| {
            let Range { start, end } = bounds[part].clone();
            let base = &base;
            // SAFETY: the ranges lie in `values` and do not overlap, as was just checked; `run` calls each part
            // once, and `values` is borrowed until it returns.
            let own = unsafe { std::slice::from_raw_parts_mut(base.0.add(start), end - start) };
            job(part, own);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.round.fetch_add(1, Ordering::SeqCst);
        self.threads.iter().for_each(Thread::unpark);
        for worker in self.workers.drain(..) {
            // A thread ends only through `stop`; panics of parts are caught.
            let _ = worker.join();
        }
    }
}

/// Start of a slice whose parts go to several threads.
struct Base(*mut f32);

// SAFETY: only used to make parts that do not overlap.
unsafe impl Sync for Base {}

/// Floats whose first is aligned to a vector of the widest instruction set.
#[derive(Default)]
pub(super) struct Buffer {
    memory: Vec<f32>,
    first: usize,
    length: usize,
}

impl Buffer {
    /// Zeros.
    pub(super) fn zeros(length: usize) -> Self {
        let mut buffer = Self::default();
        buffer.grow(length);
        buffer
    }

    /// Makes it at least `length` long; what was in it is lost.
    fn grow(&mut self, length: usize) {
        if self.length < length {
            self.memory = vec![0.0; length + ALIGN];
            // A slice that cannot be aligned is only slower.
            self.first = self.memory.as_ptr().align_offset(4 * ALIGN).min(ALIGN);
            self.length = length;
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} floats", self.length)
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory[self.first..self.first + self.length]
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.first..self.first + self.length]
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `length` floats of this thread's own, of any value. It may be nested.
pub(super) fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken out while in use, so that a nested call finds another.
    let mut buffer = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    buffer.grow(length);
    let result = work(&mut buffer[..length]);
    SCRATCH.with_borrow_mut(|free| free.push(buffer));
    result
}
