//! The emulated machine: what is plugged into it, how it starts, what is asked of it, how its power is cut.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::json;
use tempfile::TempDir;
use thiserror::Error;

use crate::monitor::patiently;
use crate::{Archive, Disk, KernelModules, ModuleError, Monitor, MonitorError, Parts, PartsError, Picture, pi3};

const INIT: &str = include_str!("init.sh");
const SHELL: &str = include_str!("shell.sh");
/// Ends a command's output in the answer of the board's shell.
const RECORD_SEPARATOR: u8 = 0x1e;

/// The emulated board could not be started, or did not answer.
#[derive(Debug, Error)]
pub enum BoardError {
    /// A part is missing.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// A kernel module is missing.
    #[error(transparent)]
    Modules(#[from] ModuleError),
    /// The monitor.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// Files or sockets on this side.
    #[error("{what}")]
    Io {
        /// What was done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// QEMU ended at once.
    #[error("the emulated board ended ({status}) before it was ready; QEMU said: {words}; its console: {console}")]
    Ended {
        /// Exit status.
        status: String,
        /// Standard error.
        words: String,
        /// Last lines of the console.
        console: String,
    },
    /// The board is silent.
    #[error("the emulated board did not answer {command:?} within {limit:?}; its console: {console}")]
    Silent {
        /// What was asked.
        command: String,
        /// How long was waited.
        limit: Duration,
        /// Last lines of the console.
        console: String,
    },
    /// The board has no shell.
    #[error("this board has no shell to run {0:?} in: it is seen from outside alone")]
    NoShell(String),
    /// The machine's state could not be kept.
    #[error("the state of the emulated board cannot be kept: {0}")]
    State(String),
    /// The device tree cannot be made.
    #[error("{path} cannot be made with fdtput: {words}; install the package device-tree-compiler")]
    DeviceTree {
        /// The device tree.
        path: PathBuf,
        /// What fdtput said.
        words: String,
    },
    /// Something awaited did not come to be.
    #[error("{what} did not come to be within {limit:?}; its console: {console}")]
    Awaited {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// Last lines of the console.
        console: String,
    },
}

/// What a command in the board said, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Standard output and standard error, in order.
    pub text: String,
    /// Exit status; zero is success.
    pub status: i32,
}

/// Which board is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    /// QEMU's `virt`: whatever is plugged in.
    Virt,
    /// QEMU's `raspi3b`, with the device tree of the kernel's package.
    RaspberryPi3,
}

/// A board to be started: what is plugged in and what is in its memory.
#[derive(Debug)]
pub struct Plan {
    machine: Machine,
    parts: Parts,
    modules: KernelModules,
    /// So many of the modules are loaded at start, all unless said.
    at_start: Option<usize>,
    archive: Archive,
    arguments: Vec<String>,
    memory_mib: u32,
    cores: u32,
    disks: u32,
    image: Option<PathBuf>,
    state: Option<PathBuf>,
}

impl Plan {
    /// A bare board: two cores, 512 MiB, no panel, no drive, no network; the device program in `/bin/lightbox`.
    ///
    /// # Errors
    /// A part is missing.
    pub fn new() -> Result<Self, BoardError> {
        let parts = Parts::find()?;
        let mut archive = Archive::new();
        for folder in ["modules", "etc/modules", "etc/lightbox"] {
            archive.folder(folder);
        }
        archive.file("init", INIT.as_bytes());
        archive.file("bin/shell", SHELL.as_bytes());
        archive.file("bin/busybox", &read(&parts.busybox)?);
        archive.link("bin/sh", "busybox");
        archive.file("bin/lightbox", &read(&parts.program)?);
        let modules = KernelModules::of(&parts.modules)?;
        Ok(Self {
            machine: Machine::Virt,
            parts,
            modules,
            at_start: None,
            archive,
            arguments: Vec::new(),
            memory_mib: 512,
            cores: 2,
            disks: 0,
            image: None,
            state: None,
        })
    }

    /// A Raspberry Pi 3 B: four cores, 1 GiB, a display of 800 × 480, GPIO lines of its own, no network, no drive, and no
    /// shell: it is seen from outside alone.
    ///
    /// # Errors
    /// A part is missing.
    pub fn raspberry_pi_3() -> Result<Self, BoardError> {
        Ok(Self { machine: Machine::RaspberryPi3, memory_mib: 1024, cores: 4, ..Self::new()? })
    }

    /// A board with the system that `cross/image virt` has made in a folder, in place of one in memory. It has no shell: it
    /// is seen from outside alone. Its root is the first drive, its data partition, a copy of that in the folder, the second.
    ///
    /// # Errors
    /// A part is missing.
    pub fn image(folder: &Path, data: &Disk) -> Result<Self, BoardError> {
        let mut plan = Self::new()?.disk(&Disk::at(&folder.join("root")))?.disk(data)?;
        plan.image = Some(folder.to_owned());
        Ok(plan)
    }

    /// Puts a file into the board's memory; its folder must be there.
    pub fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.archive.file(path.trim_start_matches('/'), content);
        self
    }

    /// Makes a folder in the board's memory.
    pub fn folder(mut self, path: &str) -> Self {
        self.archive.folder(path.trim_start_matches('/'));
        self
    }

    /// Puts a folder of this machine and all that is in it into the board's memory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn folder_from(mut self, path: &str, from: &Path) -> Result<Self, BoardError> {
        self = self.folder(path);
        let unreadable = |source| BoardError::Io { what: format!("{} cannot be read", from.display()), source };
        let mut entries: Vec<PathBuf> = fs::read_dir(from)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(unreadable)?;
        entries.sort();
        for entry in entries {
            let name = entry.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let inside = format!("{path}/{name}");
            self = if entry.is_dir() { self.folder_from(&inside, &entry)? } else { self.file(&inside, &read(&entry)?) };
        }
        Ok(self)
    }

    /// Loads a kernel module at start, after those that it depends on.
    ///
    /// # Errors
    /// The kernel has no such module.
    pub fn module(mut self, name: &str) -> Result<Self, BoardError> {
        self.modules.pick(name)?;
        Ok(self)
    }

    /// Modules that are picked from now on are not loaded at start, but by the command `load-modules`.
    pub fn later(mut self) -> Self {
        self.at_start = Some(self.modules.picked().len());
        self
    }

    /// Arguments for a module that is loaded at start, as one would give them to `insmod`.
    pub fn module_arguments(self, name: &str, arguments: &str) -> Self {
        self.file(&format!("etc/modules/{name}"), arguments.as_bytes())
    }

    /// Plugs in a panel: `/dev/fb0` and `/dev/dri/card0`.
    ///
    /// # Errors
    /// The kernel lacks its driver.
    pub fn panel(self, width: u32, height: u32) -> Result<Self, BoardError> {
        Ok(self.module("virtio_gpu")?.with(["-device", &format!("virtio-gpu-pci,xres={width},yres={height}")]))
    }

    /// Plugs in a network card; what comes to `outside` on this machine's loopback goes to the board's port `inside`.
    ///
    /// # Errors
    /// The kernel lacks its driver.
    pub fn network(self, outside: u16, inside: u16) -> Result<Self, BoardError> {
        let forward = format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{outside}-10.0.2.15:{inside}");
        Ok(self.module("virtio_net")?.with(["-netdev", &forward, "-device", "virtio-net-pci,netdev=net,romfile="]))
    }

    /// Plugs in a drive, the first as `/dev/vda`; mounted by whoever needs it.
    ///
    /// # Errors
    /// The kernel lacks its driver, or that of ext4.
    pub fn disk(mut self, disk: &Disk) -> Result<Self, BoardError> {
        let id = format!("disk{}", self.disks);
        self.disks += 1;
        // ext4 asks for its checksums by name, not as a module that it depends on.
        let plan = self.module("virtio_blk")?.module("crc32c_generic")?.module("ext4")?;
        Ok(plan.with([
            "-blockdev",
            &disk.block_device(&id),
            "-device",
            &format!("virtio-blk-pci,drive={id},write-cache=on"),
        ]))
    }

    /// How much memory the board has.
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// How many cores the board has.
    pub fn cores(mut self, cores: u32) -> Self {
        self.cores = cores;
        self
    }

    /// Goes on where a board of the same plan was when [`Board::keep_state`] kept its state, in place of starting anew.
    pub fn from_state(mut self, state: &Path) -> Self {
        self.state = Some(state.to_owned());
        self
    }

    /// Arguments for QEMU.
    pub fn with<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Switches the board on. It is not ready yet: ask it something to wait for that.
    ///
    /// # Errors
    /// QEMU cannot be started.
    pub fn start(self) -> Result<Board, BoardError> {
        let scratch =
            tempfile::Builder::new().prefix("board").tempdir().map_err(failed("a scratch folder cannot be made"))?;
        let mut archive = self.archive;
        let (mut order, mut later) = (String::new(), String::new());
        for (index, (name, content)) in self.modules.picked().iter().enumerate() {
            archive.file(&format!("modules/{name}.ko"), content);
            let list = if self.at_start.is_none_or(|count| index < count) { &mut order } else { &mut later };
            list.push_str(name);
            list.push('\n');
        }
        archive.file("modules/order", order.as_bytes());
        archive.file("modules/later", later.as_bytes());
        let path = |name: &str| scratch.path().join(name);
        let (kernel, first_root) = match &self.image {
            Some(folder) => (folder.join("kernel"), folder.join("start")),
            None => {
                fs::write(path("root"), archive.finish()).map_err(failed("the board's root cannot be written"))?;
                (self.parts.kernel.clone(), path("root"))
            }
        };
        let errors = fs::File::create(path("qemu")).map_err(failed("QEMU's messages cannot be written"))?;
        let mut qemu = self.parts.qemu()?;
        match self.machine {
            Machine::Virt => {
                qemu.args(["-M", "virt,gic-version=2", "-cpu", "cortex-a72", "-smp", &self.cores.to_string()])
                    .args(["-device", "virtio-rng-pci,romfile=", "-device", "virtio-serial-pci"])
                    .args(["-chardev", &format!("socket,id=shell,path={},server=on,wait=off", path("shell").display())])
                    .args(["-device", "virtserialport,chardev=shell,name=shell"]);
            }
            Machine::RaspberryPi3 => {
                let tree = path("device-tree");
                pi3::write_device_tree(&self.parts.device_tree("broadcom/bcm2837-rpi-3-b.dtb")?, &tree)?;
                qemu.args(["-M", "raspi3b", "-dtb"]).arg(tree).args(pi3::display_arguments());
            }
        }
        qemu.args(["-nodefaults", "-display", "none", "-m", &self.memory_mib.to_string()])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(first_root)
            .args(["-append", "console=ttyAMA0 panic=-1 quiet loglevel=4 vt.global_cursor_default=0 consoleblank=0 random.trust_cpu=on"])
            .args(["-chardev", &format!("file,id=console,path={}", path("console").display()), "-serial", "chardev:console"])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", path("monitor").display())])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        if let Some(state) = &self.state {
            qemu.arg("-incoming").arg(format!("file:{}", state.display()));
        }
        let process = qemu.spawn().map_err(failed("QEMU cannot be started"))?;
        let mut board = Board { process, monitor: None, shell: None, switched_on: Instant::now(), scratch };
        if self.machine == Machine::Virt {
            let shell = patiently(&board.path("shell"), Duration::from_secs(10)).map_err(|_| board.ended())?;
            board.shell = Some(BufReader::new(shell));
        }
        board.monitor = Some(Monitor::connect(&board.path("monitor"))?);
        Ok(board)
    }
}

/// A running board. Dropping it takes its power away.
#[derive(Debug)]
pub struct Board {
    process: Child,
    monitor: Option<Monitor>,
    shell: Option<BufReader<UnixStream>>,
    switched_on: Instant,
    scratch: TempDir,
}

impl Board {
    /// Runs a shell command in the board and waits for its end.
    ///
    /// # Errors
    /// The board does not answer within the limit.
    pub fn run_within(&mut self, command: &str, limit: Duration) -> Result<Output, BoardError> {
        assert!(!command.contains('\n'), "a command is one line: {command:?}");
        let until = Instant::now() + limit;
        let Some(shell) = self.shell.as_mut() else { return Err(BoardError::NoShell(command.to_owned())) };
        shell
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(200)))
            .map_err(failed("the board's shell is gone"))?;
        shell.get_mut().write_all(format!("{command}\n").as_bytes()).map_err(failed("the board's shell is gone"))?;
        let mut answer = Vec::new();
        let mut buffer = [0; 65536];
        while Instant::now() < until {
            match shell.read(&mut buffer) {
                Ok(0) => return Err(self.ended()),
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(source) => return Err(BoardError::Io { what: "the board's shell is gone".to_owned(), source }),
            }
            if let Some(end) = answer.iter().position(|byte| *byte == RECORD_SEPARATOR)
                && answer.ends_with(b"\n")
            {
                let status = String::from_utf8_lossy(&answer[end + 1..]).trim().parse().unwrap_or(-1);
                return Ok(Output { text: String::from_utf8_lossy(&answer[..end]).into_owned(), status });
            }
        }
        Err(BoardError::Silent { command: command.to_owned(), limit, console: self.last_words() })
    }

    /// Runs a shell command in the board; a minute must do.
    ///
    /// # Errors
    /// The board does not answer.
    pub fn run(&mut self, command: &str) -> Result<Output, BoardError> {
        self.run_within(command, Duration::from_secs(60))
    }

    /// Waits until something has come to be, asking again and again.
    ///
    /// # Errors
    /// It did not within the limit, or the question itself failed.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut question: impl FnMut(&mut Self) -> Result<Option<T>, BoardError>,
    ) -> Result<T, BoardError> {
        let until = Instant::now() + limit;
        loop {
            if let Some(answer) = question(self)? {
                return Ok(answer);
            }
            if !matches!(self.process.try_wait(), Ok(None)) {
                return Err(self.ended());
            }
            if Instant::now() > until {
                return Err(BoardError::Awaited { what: what.to_owned(), limit, console: self.last_words() });
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the panel shows.
    ///
    /// # Errors
    /// The board has no panel, or is gone.
    pub fn screen(&mut self) -> Result<Picture, BoardError> {
        let scratch = self.scratch.path().to_owned();
        Ok(self.monitor().screen(&scratch)?)
    }

    /// The monitor, for presses and plugs.
    ///
    /// # Panics
    /// Never: a started board has one.
    pub fn monitor(&mut self) -> &mut Monitor {
        self.monitor.as_mut().expect("a started board has a monitor")
    }

    /// All that the board has written to its serial console.
    #[must_use]
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("console")).unwrap_or_default()).into_owned()
    }

    /// Time since it was switched on.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.switched_on.elapsed()
    }

    /// Keeps the state of the whole machine, its memory and devices but not its drives, in a file, and ends it: see
    /// [`Plan::from_state`].
    ///
    /// # Errors
    /// QEMU cannot write it.
    pub fn keep_state(mut self, to: &Path) -> Result<(), BoardError> {
        self.monitor().ask("migrate", &json!({ "uri": format!("file:{}", to.display()) }))?;
        let kept = |board: &mut Self| {
            let status = board.monitor().ask("query-migrate", &json!({}))?;
            match status["status"].as_str() {
                Some("completed") => Ok(Some(())),
                Some("failed" | "cancelled") => Err(BoardError::State(status.to_string())),
                Some(_) | None => Ok(None),
            }
        };
        self.wait_for("the state of the board in a file", Duration::from_secs(60), kept)
    }

    /// Takes the power away, at once.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn cut_power(mut self) -> Result<(), BoardError> {
        self.process.kill().and_then(|()| self.process.wait()).map(drop).map_err(failed("QEMU cannot be ended"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn last_words(&self) -> String {
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn ended(&mut self) -> BoardError {
        // The process may need a moment to go after its socket has.
        thread::sleep(Duration::from_millis(100));
        let status = match self.process.try_wait() {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => "still running".to_owned(),
            Err(error) => error.to_string(),
        };
        let words = fs::read_to_string(self.path("qemu")).unwrap_or_default();
        BoardError::Ended { status, words: words.trim().to_owned(), console: self.last_words() }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port of this machine's loopback that nobody listens on.
///
/// # Errors
/// There is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn read(path: &Path) -> Result<Vec<u8>, BoardError> {
    fs::read(path).map_err(|source| BoardError::Io { what: format!("{} cannot be read", path.display()), source })
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> BoardError {
    move |source| BoardError::Io { what: what.to_owned(), source }
}
