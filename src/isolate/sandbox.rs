//! What a decoder's process may still do.
//!
//! Landlock limits files: the input and system libraries can be read, and nothing can be written or created. Seccomp limits
//! system calls to those that decoding needs: a film on disk has no network, and nobody can run a program, look into another
//! process or signal one. Both hold for all threads that start afterwards, and cannot be undone. Limits on memory and
//! descriptors come first, because they are refused later.
//!
//! On systems other than Linux, a process of its own is all there is.

use std::path::PathBuf;

use super::protection::Protection;

/// What a process needs beyond decoding.
#[derive(Debug, Clone, Default)]
pub(super) struct Needs {
    /// What it may read: a file, or a folder with everything below.
    pub(super) readable: Vec<PathBuf>,
    /// A device that it may read and control.
    pub(super) device: Option<PathBuf>,
    /// Whether it may connect to servers.
    pub(super) network: bool,
    /// Whether it decodes on a hardware device. Drivers need so much that no sandbox is left.
    pub(super) hwaccel: bool,
    /// Megabytes that it may take.
    pub(super) memory_mb: u64,
}

#[cfg(not(target_os = "linux"))]
pub(super) fn enter(needs: &Needs) -> Protection {
    let Needs { readable: _, device: _, network: _, hwaccel, memory_mb: _ } = needs;
    Protection { files: false, calls: false, device: *hwaccel }
}

/// What would protect a process, without giving up anything: Landlock and seccomp hold for one thread, which ends.
pub(super) fn try_on_a_thread(hwaccel: bool) -> Protection {
    let none = Protection { files: false, calls: false, device: hwaccel };
    #[cfg(target_os = "linux")]
    if !hwaccel {
        let tried = std::thread::Builder::new().name("sandbox".into()).spawn(linux::enter_with_this_thread);
        return tried.ok().and_then(|thread| thread.join().ok()).unwrap_or(none);
    }
    none
}

#[cfg(target_os = "linux")]
pub(super) use linux::enter;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::path::Path;

    use landlock::{
        ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    };
    use nix::libc;
    use nix::sys::resource::{Resource, setrlimit};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };

    use super::{Needs, Protection};

    /// The newest rules that descry knows. Older kernels have some of them.
    const RULES: ABI = ABI::V6;
    /// Most open files.
    const FILES: u64 = 256;
    /// Where libraries, and what they read, are.
    const LIBRARIES: [&str; 16] = [
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/share/zoneinfo",
        "/nix/store",
        "/gnu/store",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/dev/null",
        "/dev/zero",
        "/dev/urandom",
        "/sys/devices/system/cpu",
        "/proc/cpuinfo",
        "/proc/meminfo",
    ];
    /// What finding a server needs, and verifying it.
    const NETWORK: [&str; 10] = [
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/host.conf",
        "/etc/nsswitch.conf",
        "/etc/gai.conf",
        "/etc/services",
        "/etc/ssl",
        "/etc/pki",
        "/etc/ca-certificates",
        "/usr/share/ca-certificates",
    ];

    /// Gives up everything but what is needed. Returns what protects the process from now on.
    pub(in crate::isolate) fn enter(needs: &Needs) -> Protection {
        // A core dump of every hostile film would fill the disk.
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        // If memory runs out all the same, the kernel ends this process and not another.
        let _ = std::fs::write("/proc/self/oom_score_adj", "500");
        if needs.hwaccel {
            return Protection { files: false, calls: false, device: true };
        }
        let memory = needs.memory_mb.saturating_mul(1 << 20);
        for (resource, most) in
            [(Resource::RLIMIT_DATA, memory), (Resource::RLIMIT_FSIZE, 0), (Resource::RLIMIT_NOFILE, FILES)]
        {
            let _ = setrlimit(resource, most, most);
        }
        let files = limit_files(needs).unwrap_or(false);
        let calls = calls(needs).and_then(|program| Ok(seccompiler::apply_filter_all_threads(&program)?)).is_ok();
        Protection { files, calls, device: false }
    }

    /// As [`enter`] without any needs, for the calling thread.
    pub(super) fn enter_with_this_thread() -> Protection {
        let needs = Needs::default();
        let files = limit_files(&needs).unwrap_or(false);
        let calls = calls(&needs).and_then(|program| Ok(seccompiler::apply_filter(&program)?)).is_ok();
        Protection { files, calls, device: false }
    }

    /// False where the kernel has no Landlock.
    fn limit_files(needs: &Needs) -> Result<bool, RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let mut rules =
            Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_all(RULES))?;
        rules = rules.scope(Scope::from_all(RULES))?;
        if !needs.network {
            rules = rules.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?;
        }
        let mut created = rules.create()?;
        let own_libraries = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let own_libraries = std::env::split_paths(&own_libraries).filter(|path| path.is_absolute());
        let network = NETWORK.iter().filter(|_| needs.network);
        for path in LIBRARIES.iter().chain(network).map(Path::new) {
            created = allow(created, path, read)?;
        }
        for path in own_libraries.chain(needs.readable.iter().cloned()) {
            created = allow(created, &path, read)?;
        }
        if let Some(device) = &needs.device {
            created = allow(created, device, read | AccessFs::WriteFile | AccessFs::IoctlDev)?;
        }
        Ok(created.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
    }

    /// Allows access to a file or folder, if it exists.
    fn allow(
        rules: landlock::RulesetCreated,
        path: &Path,
        access: BitFlags<AccessFs>,
    ) -> Result<landlock::RulesetCreated, RulesetError> {
        let Ok(fd) = PathFd::new(path) else { return Ok(rules) };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(RULES) };
        rules.add_rule(PathBeneath::new(fd, access))
    }

    /// Calls that need no look at their arguments.
    const CALLS: &[libc::c_long] = &[
        libc::SYS_brk,
        libc::SYS_capget,
        libc::SYS_clock_getres,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_close,
        libc::SYS_dup,
        libc::SYS_dup3,
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_eventfd2,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_fadvise64,
        libc::SYS_fcntl,
        libc::SYS_fstat,
        libc::SYS_fstatfs,
        libc::SYS_futex,
        libc::SYS_getcwd,
        libc::SYS_getdents64,
        libc::SYS_getegid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getpid,
        libc::SYS_getppid,
        libc::SYS_getrandom,
        libc::SYS_getrusage,
        libc::SYS_gettid,
        libc::SYS_gettimeofday,
        libc::SYS_getuid,
        libc::SYS_ioctl,
        libc::SYS_lseek,
        libc::SYS_madvise,
        libc::SYS_membarrier,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_nanosleep,
        libc::SYS_newfstatat,
        libc::SYS_pipe2,
        libc::SYS_ppoll,
        libc::SYS_pread64,
        libc::SYS_preadv,
        libc::SYS_pselect6,
        libc::SYS_read,
        libc::SYS_readlinkat,
        libc::SYS_readv,
        libc::SYS_restart_syscall,
        libc::SYS_rseq,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigpending,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_getparam,
        libc::SYS_sched_getscheduler,
        libc::SYS_sched_yield,
        libc::SYS_set_robust_list,
        libc::SYS_set_tid_address,
        libc::SYS_sigaltstack,
        libc::SYS_statfs,
        libc::SYS_statx,
        libc::SYS_sysinfo,
        libc::SYS_uname,
        libc::SYS_write,
        libc::SYS_writev,
    ];
    /// Older forms of the same.
    #[cfg(target_arch = "x86_64")]
    const OLD_CALLS: &[libc::c_long] = &[
        libc::SYS_access,
        libc::SYS_arch_prctl,
        libc::SYS_dup2,
        libc::SYS_epoll_create,
        libc::SYS_epoll_wait,
        libc::SYS_lstat,
        libc::SYS_pipe,
        libc::SYS_poll,
        libc::SYS_readlink,
        libc::SYS_select,
        libc::SYS_stat,
        libc::SYS_time,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const OLD_CALLS: &[libc::c_long] = &[];
    /// Calls on sockets. Making one looks at its family.
    const SOCKET_CALLS: &[libc::c_long] = &[
        libc::SYS_accept4,
        libc::SYS_bind,
        libc::SYS_connect,
        libc::SYS_getpeername,
        libc::SYS_getsockname,
        libc::SYS_getsockopt,
        libc::SYS_listen,
        libc::SYS_recvfrom,
        libc::SYS_recvmmsg,
        libc::SYS_recvmsg,
        libc::SYS_sendmmsg,
        libc::SYS_sendmsg,
        libc::SYS_sendto,
        libc::SYS_setsockopt,
        libc::SYS_shutdown,
    ];
    /// The socket that the process was started with.
    const OWN_SOCKET_CALLS: &[libc::c_long] = &[libc::SYS_recvfrom, libc::SYS_sendto, libc::SYS_shutdown];
    /// Internet, and the kernel's table of addresses, which the resolver sorts by.
    const FAMILIES: [i32; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    /// What opening a file may not ask for.
    const CREATE: i32 = libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;

    /// Every call that is not allowed fails as if the kernel did not have it, for which libraries are prepared.
    fn calls(needs: &Needs) -> Result<BpfProgram, Box<dyn std::error::Error>> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        for call in CALLS.iter().chain(OLD_CALLS).chain(OWN_SOCKET_CALLS) {
            rules.insert(*call, Vec::new());
        }
        let masked = |argument: u8, mask: i32, value: i32| -> Result<SeccompRule, seccompiler::BackendError> {
            let (mask, value) = (u64::from(mask as u32), u64::from(value as u32));
            let condition =
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)?;
            SeccompRule::new(vec![condition])
        };
        let is = |argument: u8, value: i32| masked(argument, -1, value);
        let write = if needs.device.is_some() { 0 } else { libc::O_ACCMODE };
        rules.insert(libc::SYS_openat, vec![masked(2, write | CREATE, 0)?]);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, vec![masked(1, write | CREATE, 0)?]);
        // Threads, and no processes.
        rules.insert(libc::SYS_clone, vec![masked(0, libc::CLONE_THREAD, libc::CLONE_THREAD)?]);
        // Its own limits may be read. Raising them is up to the parent.
        let none = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
        rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![none])?]);
        // Names of threads.
        rules.insert(libc::SYS_prctl, vec![is(0, libc::PR_SET_NAME)?, is(0, libc::PR_GET_NAME)?]);
        // Its own signals: `abort`.
        let own = std::process::id() as i32;
        rules.insert(libc::SYS_tgkill, vec![is(0, own)?]);
        rules.insert(libc::SYS_kill, vec![is(0, own)?]);
        if needs.network {
            rules.extend(SOCKET_CALLS.iter().map(|call| (*call, Vec::new())));
            let families = FAMILIES.map(|family| is(0, family)).into_iter().collect::<Result<_, _>>()?;
            rules.insert(libc::SYS_socket, families);
            rules.insert(libc::SYS_socketpair, vec![is(0, libc::AF_UNIX)?]);
        }
        let deny = SeccompAction::Errno(libc::ENOSYS as u32);
        let arch = std::env::consts::ARCH.try_into()?;
        Ok(SeccompFilter::new(rules, deny, SeccompAction::Allow, arch)?.try_into()?)
    }
}
