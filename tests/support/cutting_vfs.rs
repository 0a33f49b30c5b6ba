//! A file system for SQLite that lies in memory, fails on request, and knows what a power cut would leave of it.
//!
//! It is registered as the default, so that the journal runs on it unchanged: write-ahead log with shared memory
//! (on the heap, for one connection at a time), the same locks, the same syncs. Every change is written down in a
//! trace; [`states_after_cut`] replays a part of it and drops, keeps or tears what was not synced.

#![allow(unsafe_code, reason = "a file system for SQLite is a table of C functions")]
#![allow(dead_code, unreachable_pub, reason = "each test uses the part that it needs")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rusqlite::ffi;

/// Files by their names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What was done to the files, or by the test above them.
#[derive(Clone, Debug)]
pub enum Op {
    Create(String),
    Write {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: String,
        size: usize,
    },
    /// Everything of the file before it is durable.
    Sync(String),
    /// Every name that came or went before it is durable. SQLite's own file system flushes the folder with the first sync
    /// of a log that it has made.
    SyncFolder,
    /// The sync failed: what was written before it will never be durable unless it is written again, although it can be
    /// read until the power goes (as Linux does since 4.13).
    NotSynced(String),
    /// Durable at once where the folder was synced with it.
    Delete {
        file: String,
        durable: bool,
    },
    /// Something that the test promises from here on.
    Said(u64),
}

/// When a call to the file system fails, and how.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The first call that does, counted from 0.
    pub at: usize,
    /// How many do.
    pub calls: usize,
    /// No space is left, instead of an error of the device.
    pub full: bool,
}

#[derive(Default)]
struct World {
    files: Files,
    trace: Vec<Op>,
    calls: usize,
    fault: Option<Fault>,
    failed: usize,
    random: u64,
    shared: Vec<Box<[u8]>>,
    main_is_open: bool,
    temporary: usize,
    /// Logs that were made and whose name was not flushed yet.
    new_logs: BTreeSet<String>,
}

static WORLD: Mutex<Option<World>> = Mutex::new(None);

fn world<T>(look: impl FnOnce(&mut World) -> T) -> T {
    let mut guard: MutexGuard<'_, Option<World>> = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    look(guard.get_or_insert_with(World::default))
}

/// Switches the machine on with these files; the next calls fail as `fault` says.
pub fn boot(files: Files, fault: Option<Fault>) {
    install();
    world(|world| {
        assert!(!world.main_is_open, "a connection is still open");
        *world = World { files, fault, random: 0x9e37_79b9_7f4a_7c15, ..World::default() };
    });
}

/// Promises something: it goes into the trace.
pub fn say(said: u64) {
    world(|world| world.trace.push(Op::Said(said)));
}

/// The files as they can be read now.
pub fn files() -> Files {
    world(|world| world.files.clone())
}

/// All that was done since the start.
pub fn trace() -> Vec<Op> {
    world(|world| world.trace.clone())
}

/// How many calls there were that may fail, and how many did.
pub fn calls() -> (usize, usize) {
    world(|world| (world.calls, world.failed))
}

/// What becomes of writes that were not synced.
#[derive(Clone, Copy, Debug)]
pub enum Left {
    /// All are lost.
    Nothing,
    /// All are kept, as when only the program is killed.
    All,
    /// All are kept, but of the last write only the first half.
    Torn,
    /// Files have their new lengths, but zeros for what was added.
    Zeros,
    /// The first of them are kept, so many as the seed says, and of the last one a part.
    Prefix(u64),
    /// Each is kept or lost by itself, in no order, the last one in part.
    Some(u64),
}

/// The files after a cut behind the first `count` operations of `trace`.
pub fn after_cut(start: &Files, trace: &[Op], count: usize, left: Left) -> Files {
    let mut durable = start.clone();
    let mut pending: Vec<&Op> = Vec::new();
    for op in &trace[..count] {
        match op {
            Op::Said(_) => {}
            Op::Sync(file) => {
                let (synced, others) = pending.into_iter().partition(|op| file_of(op) == file);
                pending = others;
                let synced: Vec<&Op> = synced;
                synced.into_iter().for_each(|op| apply(&mut durable, op));
            }
            Op::SyncFolder => {
                let is_name = |op: &&Op| matches!(op, Op::Create(_) | Op::Delete { .. });
                let (names, others): (Vec<&Op>, Vec<&Op>) = pending.into_iter().partition(is_name);
                pending = others;
                names.into_iter().for_each(|op| apply(&mut durable, op));
            }
            Op::NotSynced(file) => pending.retain(|op| file_of(op) != file || matches!(op, Op::Create(_))),
            Op::Delete { durable: true, .. } => {
                pending.retain(|pending| file_of(pending) != file_of(op));
                apply(&mut durable, op);
            }
            Op::Create(_) | Op::Write { .. } | Op::Truncate { .. } | Op::Delete { durable: false, .. } => {
                pending.push(op)
            }
        }
    }
    let mut draw = match left {
        Left::Prefix(seed) | Left::Some(seed) => seed ^ (count as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        Left::Nothing | Left::All | Left::Torn | Left::Zeros => 1,
    };
    let mut next = || {
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        draw
    };
    let kept: Vec<&Op> = match left {
        Left::Nothing => Vec::new(),
        Left::All | Left::Torn | Left::Zeros => pending,
        Left::Prefix(_) => {
            let count = next() as usize % (pending.len() + 1);
            pending.into_iter().take(count).collect()
        }
        Left::Some(_) => pending.into_iter().filter(|_| next() & 4 == 0).collect(),
    };
    let last = kept.len().saturating_sub(1);
    for (index, op) in kept.into_iter().enumerate() {
        match (op, left) {
            (Op::Write { file, at, bytes }, Left::Zeros) => {
                let content = durable.entry(file.clone()).or_default();
                content.resize(content.len().max(at + bytes.len()), 0);
            }
            (Op::Write { file, at, bytes }, Left::Torn | Left::Prefix(_) | Left::Some(_)) if index == last => {
                let part = if let Left::Torn = left { bytes.len() / 2 } else { next() as usize % (bytes.len() + 1) };
                apply(&mut durable, &Op::Write { file: file.clone(), at: *at, bytes: bytes[..part].to_vec() });
            }
            (op, _) => apply(&mut durable, op),
        }
    }
    durable
}

fn file_of(op: &Op) -> &str {
    match op {
        Op::Create(file) | Op::Sync(file) | Op::NotSynced(file) => file,
        Op::Write { file, .. } | Op::Truncate { file, .. } | Op::Delete { file, .. } => file,
        Op::Said(_) | Op::SyncFolder => "",
    }
}

fn apply(files: &mut Files, op: &Op) {
    match op {
        Op::Create(file) => {
            files.entry(file.clone()).or_default();
        }
        Op::Write { file, at, bytes } => {
            // One without its file: the name was lost, the content cannot be found.
            let Some(content) = files.get_mut(file) else { return };
            content.resize(content.len().max(at + bytes.len()), 0);
            content[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        Op::Truncate { file, size } => {
            if let Some(content) = files.get_mut(file) {
                content.resize(*size, 0);
            }
        }
        Op::Delete { file, .. } => {
            files.remove(file);
        }
        Op::Sync(_) | Op::SyncFolder | Op::NotSynced(_) | Op::Said(_) => {}
    }
}

impl World {
    /// Counts a call; whether it fails, and if so because no space is left.
    fn fails(&mut self) -> Option<bool> {
        let call = self.calls;
        self.calls += 1;
        let fault = self.fault.filter(|fault| (fault.at..fault.at.saturating_add(fault.calls)).contains(&call))?;
        self.failed += 1;
        Some(fault.full)
    }

    fn change(&mut self, op: Op) {
        apply(&mut self.files, &op);
        self.trace.push(op);
    }
}

/// What SQLite keeps of an open file.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// Boxed; freed by [`close`].
    name: *mut String,
    is_main: bool,
    is_temporary: bool,
}

/// # Safety
/// `file` is one that [`open`] has filled in and [`close`] has not been called for.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> (&'a str, &'a File) {
    // SAFETY: SQLite hands over what `open` has written, and does so from one thread at a time.
    let file = unsafe { &*file.cast::<File>() };
    // SAFETY: the name is freed by `close` alone.
    (unsafe { (*file.name).as_str() }, file)
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for a `File`, and clears the methods itself where we fail.
    unsafe { (*file).pMethods = ptr::null() };
    let is_main = flags & ffi::SQLITE_OPEN_MAIN_DB != 0;
    let name = (!name.is_null()).then(|| {
        // SAFETY: a name ends with a zero.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    });
    let is_temporary = name.is_none();
    let opened = world(|world| {
        let name = name.unwrap_or_else(|| {
            world.temporary += 1;
            format!("temporary {}", world.temporary)
        });
        if is_main && std::mem::replace(&mut world.main_is_open, true) {
            // Two connections would share memory and locks, which are for one here.
            return Err(ffi::SQLITE_CANTOPEN);
        }
        if !world.files.contains_key(&name) {
            let may = flags & ffi::SQLITE_OPEN_CREATE != 0;
            if !may || (!is_temporary && world.fails().is_some()) {
                world.main_is_open &= !is_main;
                return Err(ffi::SQLITE_CANTOPEN);
            }
            if is_temporary {
                world.files.insert(name.clone(), Vec::new());
            } else {
                world.change(Op::Create(name.clone()));
                if flags & (ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL) != 0
                {
                    world.new_logs.insert(name.clone());
                }
            }
        }
        Ok(name)
    });
    match opened {
        Err(code) => code,
        Ok(name) => {
            let name = Box::into_raw(Box::new(name));
            let base = ffi::sqlite3_file { pMethods: &raw const METHODS.0 };
            // SAFETY: there is room for a `File`, which nobody else knows of yet.
            unsafe { file.cast::<File>().write(File { base, name, is_main, is_temporary }) };
            if !out_flags.is_null() {
                // SAFETY: it is null or SQLite's to be written.
                unsafe { *out_flags = flags };
            }
            ffi::SQLITE_OK
        }
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes what was opened, once.
    let (name, about) = unsafe { opened(file) };
    world(|world| {
        world.main_is_open &= !about.is_main;
        if about.is_temporary {
            world.files.remove(name);
        }
    });
    // SAFETY: `open` has boxed it, and nothing looks at it after this.
    drop(unsafe { Box::from_raw(about.name) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, count: c_int, at: i64) -> c_int {
    // SAFETY: an open file.
    let (name, _) = unsafe { opened(file) };
    // SAFETY: SQLite gives room for `count` bytes.
    let to = unsafe { std::slice::from_raw_parts_mut(to.cast::<u8>(), count as usize) };
    world(|world| {
        let content = world.files.get(name).map_or(&[][..], Vec::as_slice);
        let there = content.get(at as usize..).unwrap_or_default();
        let whole = there.len().min(to.len());
        to[..whole].copy_from_slice(&there[..whole]);
        to[whole..].fill(0);
        if whole == to.len() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
    })
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, count: c_int, at: i64) -> c_int {
    // SAFETY: an open file.
    let (name, about) = unsafe { opened(file) };
    // SAFETY: SQLite gives `count` bytes.
    let from = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), count as usize) };
    world(|world| {
        let op = |bytes: &[u8]| Op::Write { file: name.to_owned(), at: at as usize, bytes: bytes.to_vec() };
        if about.is_temporary {
            apply(&mut world.files, &op(from));
            return ffi::SQLITE_OK;
        }
        match world.fails() {
            None => {
                world.change(op(from));
                ffi::SQLITE_OK
            }
            // A write that fails has written a part.
            Some(full) => {
                world.change(op(&from[..from.len() / 2]));
                if full { ffi::SQLITE_FULL } else { ffi::SQLITE_IOERR_WRITE }
            }
        }
    })
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: an open file.
    let (name, _) = unsafe { opened(file) };
    world(|world| {
        if world.fails().is_some() {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        world.change(Op::Truncate { file: name.to_owned(), size: size as usize });
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: an open file.
    let (name, _) = unsafe { opened(file) };
    world(|world| {
        if world.fails().is_some() {
            world.trace.push(Op::NotSynced(name.to_owned()));
            return ffi::SQLITE_IOERR_FSYNC;
        }
        world.trace.push(Op::Sync(name.to_owned()));
        if world.new_logs.remove(name) {
            world.trace.push(Op::SyncFolder);
        }
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: an open file.
    let (name, _) = unsafe { opened(file) };
    // SAFETY: SQLite's to be written.
    unsafe { *size = world(|world| world.files.get(name).map_or(0, Vec::len)) as i64 };
    ffi::SQLITE_OK
}

/// There is one connection: nobody else holds a lock.
unsafe extern "C" fn lock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn is_reserved(_: *mut ffi::sqlite3_file, reserved: *mut c_int) -> c_int {
    // SAFETY: SQLite's to be written.
    unsafe { *reserved = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

/// What SQLite's own file system says on Linux: a torn write spoils no bytes beside it.
unsafe extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shared_map(
    _: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    place: *mut *mut c_void,
) -> c_int {
    let found = world(|world| {
        while extend != 0 && world.shared.len() <= region as usize {
            world.shared.push(vec![0; bytes as usize].into_boxed_slice());
        }
        // The bytes lie on the heap: they stay where they are when the list grows.
        world.shared.get_mut(region as usize).map_or(ptr::null_mut(), |region| region.as_mut_ptr().cast())
    });
    // SAFETY: SQLite's to be written.
    unsafe { *place = found };
    ffi::SQLITE_OK
}

unsafe extern "C" fn shared_lock(_: *mut ffi::sqlite3_file, _: c_int, _: c_int, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn shared_barrier(_: *mut ffi::sqlite3_file) {}

unsafe extern "C" fn shared_unmap(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    world(|world| world.shared.clear());
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: a name ends with a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    world(|world| {
        if !world.files.contains_key(&name) {
            return ffi::SQLITE_IOERR_DELETE_NOENT;
        }
        if world.fails().is_some() {
            return ffi::SQLITE_IOERR_DELETE;
        }
        world.change(Op::Delete { file: name, durable: sync_folder != 0 });
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, name: *const c_char, flags: c_int, may: *mut c_int) -> c_int {
    // SAFETY: a name ends with a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let found = world(|world| world.files.get(&name).map(Vec::len));
    // As SQLite's own: a file without content does not count as existing.
    let exists = found.is_some_and(|length| flags != ffi::SQLITE_ACCESS_EXISTS || length > 0);
    // SAFETY: SQLite's to be written.
    unsafe { *may = c_int::from(exists) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_name(_: *mut ffi::sqlite3_vfs, name: *const c_char, room: c_int, to: *mut c_char) -> c_int {
    // SAFETY: a name ends with a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if name.len() > room as usize {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: there is room for it, as was just compared.
    unsafe { ptr::copy_nonoverlapping(name.as_ptr().cast(), to, name.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, count: c_int, to: *mut c_char) -> c_int {
    // SAFETY: SQLite gives room for `count` bytes.
    let to = unsafe { std::slice::from_raw_parts_mut(to.cast::<u8>(), count as usize) };
    world(|world| {
        for byte in to {
            world.random = world.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (world.random >> 56) as u8;
        }
    });
    count
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn time(_: *mut ffi::sqlite3_vfs, now: *mut f64) -> c_int {
    // SAFETY: SQLite's to be written.
    unsafe { *now = 2_461_000.5 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

/// A table that lies still.
struct Methods(ffi::sqlite3_io_methods);

// SAFETY: it is never written, and its functions may be called from any thread.
unsafe impl Sync for Methods {}

static METHODS: Methods = Methods(ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(is_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shared_map),
    xShmLock: Some(shared_lock),
    xShmBarrier: Some(shared_barrier),
    xShmUnmap: Some(shared_unmap),
    xFetch: None,
    xUnfetch: None,
});

/// Makes it the file system of every connection of this process.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let vfs = ffi::sqlite3_vfs {
            iVersion: 1,
            szOsFile: size_of::<File>() as c_int,
            mxPathname: 512,
            pNext: ptr::null_mut(),
            zName: c"cutting".as_ptr(),
            pAppData: ptr::null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_name),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        };
        // SAFETY: the table is leaked and so lies there for as long as SQLite may look at it.
        let code = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1) };
        assert_eq!(code, ffi::SQLITE_OK);
    });
}
