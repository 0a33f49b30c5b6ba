//! What the decoding process gives up before it looks at the first byte from outside.
//!
//! Limits of the kernel's own accounting come first and are always there. A filter of system calls (seccomp) and a
//! ban on files and networks (landlock) are added where the kernel has them; what is in force is told to the parent.

use std::fmt;
use std::io;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetError, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// The newest landlock whose rights are asked for; an older kernel gives those that it knows.
const LANDLOCK: ABI = ABI::V6;
/// Standard input, output and error are open already: no further descriptor can be.
const DESCRIPTORS: u64 = 3;

/// How much of the wall the kernel could build, beyond the limits of memory, time and descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Only the system calls that decoding needs.
    pub system_calls: bool,
    /// No files, no network.
    pub landlock: Landlock,
}

/// How much of landlock is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// The kernel has none.
    No,
    /// An older kernel: files, but not every kind of network or signal.
    Partly,
    /// All that was asked for.
    Fully,
}

impl Confinement {
    /// As one byte of the protocol.
    pub(super) fn to_byte(self) -> u8 {
        let landlock = match self.landlock {
            Landlock::No => 0,
            Landlock::Partly => 1,
            Landlock::Fully => 2,
        };
        u8::from(self.system_calls) << 4 | landlock
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        let landlock = match byte & 0xf {
            0 => Landlock::No,
            1 => Landlock::Partly,
            2 => Landlock::Fully,
            _ => return None,
        };
        (byte >> 4 <= 1).then_some(Self { system_calls: byte >> 4 == 1, landlock })
    }

    /// Neither seccomp nor landlock: only the limits stand.
    pub fn is_bare(self) -> bool {
        self == Self { system_calls: false, landlock: Landlock::No }
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seccomp = if self.system_calls { "seccomp" } else { "no seccomp" };
        let landlock = match self.landlock {
            Landlock::No => "no landlock",
            Landlock::Partly => "landlock in part",
            Landlock::Fully => "landlock",
        };
        write!(f, "limits of memory, time and descriptors; {seccomp}; {landlock}")
    }
}

/// Gives up what decoding does not need; there is no way back.
///
/// # Errors
/// When a limit cannot be set. A kernel without seccomp or landlock is no error.
pub(super) fn enter(memory_bytes: u64, cpu_seconds: u64) -> io::Result<Confinement> {
    let limit = |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    limit(Resource::As, memory_bytes)?;
    limit(Resource::Cpu, cpu_seconds)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nproc, 0)?;
    // Nobody but root may look into the memory, in which patients' films are.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let landlock = landlock().unwrap_or(Landlock::No);
    // Behind landlock, which needs a descriptor for a moment.
    limit(Resource::Nofile, DESCRIPTORS)?;
    Ok(Confinement { system_calls: filter::enter(), landlock })
}

fn landlock() -> Result<Landlock, RulesetError> {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?;
    Ok(match rules.create()?.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Fully,
        RulesetStatus::PartiallyEnforced => Landlock::Partly,
        RulesetStatus::NotEnforced => Landlock::No,
    })
}

/// System calls that decoding makes; every other one is answered with EPERM.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod filter {
    use std::collections::BTreeMap;

    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
        TargetArch, apply_filter,
    };

    const FREE: [libc::c_long; 18] = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];

    /// Whether the filter is in force from now on.
    pub(super) fn enter() -> bool {
        let Ok(program) = program() else { return false };
        apply_filter(&program).is_ok()
    }

    fn program() -> Result<BpfProgram, seccompiler::BackendError> {
        let masked = |argument, mask: u64, value| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
        };
        // Memory never becomes code.
        let data = || Ok(vec![SeccompRule::new(vec![masked(2, libc::PROT_EXEC as u64, 0)?])?]);
        // An abort signals this very process.
        let own = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, std::process::id().into())?;
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = FREE.into_iter().map(|call| (call, Vec::new())).collect();
        rules.insert(libc::SYS_mmap, data()?);
        rules.insert(libc::SYS_mprotect, data()?);
        rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own])?]);
        let denied = SeccompAction::Errno(libc::EPERM as u32);
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        SeccompFilter::new(rules, denied, SeccompAction::Allow, arch)?.try_into()
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod filter {
    /// There is no table of system calls for this architecture.
    pub(super) fn enter() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_fits_in_a_byte() {
        for system_calls in [false, true] {
            for landlock in [Landlock::No, Landlock::Partly, Landlock::Fully] {
                let confinement = Confinement { system_calls, landlock };
                assert_eq!(Confinement::from_byte(confinement.to_byte()), Some(confinement));
            }
        }
        assert_eq!(Confinement::from_byte(3), None);
        assert_eq!(Confinement::from_byte(0x20), None);
        let bare = Confinement { system_calls: false, landlock: Landlock::No };
        assert!(bare.is_bare());
        assert_eq!(bare.to_string(), "limits of memory, time and descriptors; no seccomp; no landlock");
    }
}
