//! Which system calls the build may make.
//!
//! One table, read twice: as filters for the kernel ([`install`]) and as the `seccomp` section of an OCI runtime bundle
//! ([`oci`]). It never lets a call through because nobody thought of it: what is not named answers `ENOSYS`, as on an
//! older kernel, so that programs fall back.
//!
//! # Why
//!
//! Calls that are refused by name answer `EPERM`, as they would without privileges. Set-id bits are refused and extended
//! attributes answer `ENOTSUP`, as in Nix's builds: neither can travel in an archive that is the same everywhere. Set-id
//! bits can still be given to `open`, which is not looked at: every mount is `nosuid` and the packed output has no such
//! bits, and looking would cost the commonest call its place in the kernel's cache.
//!
//! Since Linux 5.11 the kernel works out at installation which calls are always allowed and keeps them in a bitmap; calls
//! in it cost nothing. So the table decides by number alone wherever it can, and looks at arguments of a few rare calls.
//!
//! One filter knows one error number, so there are four, of which the last one installed that objects decides the error.
//! The flag `SPEC_ALLOW` keeps kernels before 5.16 from slowing the whole build down by a mitigation of speculative store
//! bypass: the box holds no secret of the host that its processes could read so.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// A system call: its name and number.
type Call = (&'static str, c_long);

/// A call that is allowed for some values of one argument only.
struct Guard {
    call: Call,
    argument: u8,
    allowed: Values,
}

enum Values {
    /// The argument and the mask give one of these.
    Masked { mask: u32, values: &'static [u32] },
    /// The argument is none of these.
    NoneOf(&'static [u32]),
}

/// Why the filters cannot be installed.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub(super) enum SeccompError {
    /// The table does not make a filter.
    #[error("the system call filter cannot be made")]
    Compile(#[from] BackendError),
    /// The kernel refused it.
    #[error("the kernel refuses the system call filter")]
    Install(#[source] io::Error),
}

macro_rules! calls {
    ($($number:ident),* $(,)?) => {
        // The name is the constant's without `SYS_`.
        &[$((stringify!($number).split_at(4).1, libc::$number)),*]
    };
}

const NAMESPACE_FLAGS: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned();

const SET_ID_BITS: u32 = libc::S_ISUID | libc::S_ISGID;

/// `fchmodat2` has one number on all architectures; the `libc` crate does not know it on all.
const FCHMODAT2: Call = ("fchmodat2", 452);

const MODE_WITHOUT_SET_ID: Values = Values::Masked { mask: SET_ID_BITS, values: &[0] };

const PLAIN_NODES: Values =
    Values::Masked { mask: libc::S_IFMT | SET_ID_BITS, values: &[0, libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK] };

/// Calls of which one argument is looked at. Otherwise they answer `EPERM`, and `socket` `EAFNOSUPPORT`.
const GUARDED: &[Guard] = &[
    Guard {
        call: ("clone", libc::SYS_clone),
        argument: 0,
        allowed: Values::Masked { mask: NAMESPACE_FLAGS, values: &[0] },
    },
    Guard { call: ("fchmod", libc::SYS_fchmod), argument: 1, allowed: MODE_WITHOUT_SET_ID },
    Guard { call: ("fchmodat", libc::SYS_fchmodat), argument: 2, allowed: MODE_WITHOUT_SET_ID },
    Guard { call: FCHMODAT2, argument: 2, allowed: MODE_WITHOUT_SET_ID },
    Guard { call: ("mknodat", libc::SYS_mknodat), argument: 2, allowed: PLAIN_NODES },
    #[cfg(target_arch = "x86_64")]
    Guard { call: ("chmod", libc::SYS_chmod), argument: 1, allowed: MODE_WITHOUT_SET_ID },
    #[cfg(target_arch = "x86_64")]
    Guard { call: ("mknod", libc::SYS_mknod), argument: 1, allowed: PLAIN_NODES },
    // Its own limits only: the box's first process has the build's user too, and without descriptors it cannot go on. It
    // can be made slower and be given fewer processors, as the build can do with itself.
    Guard {
        call: ("prlimit64", libc::SYS_prlimit64),
        argument: 0,
        allowed: Values::Masked { mask: u32::MAX, values: &[0] },
    },
    // Asking is allowed, changing is not: the personality is a condition of the build.
    Guard {
        call: ("personality", libc::SYS_personality),
        argument: 0,
        allowed: Values::Masked { mask: u32::MAX, values: &[u32::MAX] },
    },
    // Both put words into a terminal's input, as if somebody had typed them.
    Guard {
        call: ("ioctl", libc::SYS_ioctl),
        argument: 1,
        allowed: Values::NoneOf(&[0x5412 /* TIOCSTI */, 0x541C /* TIOCLINUX */]),
    },
    SOCKET,
];

/// The network namespace is empty but for `lo`, so the internet's families reach nobody outside; vsock, netlink and others
/// are not, or not only, bound by it.
const SOCKET: Guard = Guard {
    call: ("socket", libc::SYS_socket),
    argument: 0,
    allowed: Values::Masked {
        mask: u32::MAX,
        values: &[libc::AF_UNIX.cast_unsigned(), libc::AF_INET.cast_unsigned(), libc::AF_INET6.cast_unsigned()],
    },
};

/// Calls that answer `ENOTSUP`, as on a file system without extended attributes.
const UNSUPPORTED: &[Call] = calls![SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr];

/// Calls that answer `EPERM`.
const REFUSED: &[Call] = calls! {
    SYS_acct, SYS_add_key, SYS_adjtimex, SYS_bpf, SYS_chroot, SYS_clock_adjtime, SYS_clock_settime,
    SYS_delete_module, SYS_fanotify_init, SYS_finit_module, SYS_fsconfig, SYS_fsmount, SYS_fsopen, SYS_fspick,
    SYS_init_module, SYS_kcmp, SYS_kexec_load, SYS_keyctl, SYS_lookup_dcookie, SYS_mount, SYS_mount_setattr,
    SYS_move_mount, SYS_move_pages, SYS_name_to_handle_at, SYS_nfsservctl, SYS_open_by_handle_at, SYS_open_tree,
    SYS_perf_event_open, SYS_pidfd_getfd, SYS_pivot_root, SYS_process_madvise, SYS_process_vm_readv,
    SYS_process_vm_writev, SYS_ptrace, SYS_quotactl, SYS_quotactl_fd, SYS_reboot, SYS_request_key, SYS_setdomainname,
    SYS_sethostname, SYS_setns, SYS_settimeofday, SYS_swapoff, SYS_swapon, SYS_syslog, SYS_umount2, SYS_unshare,
    SYS_userfaultfd, SYS_vhangup,
};

/// Calls that are always allowed.
const ALLOWED: &[Call] = calls! {
    SYS_accept, SYS_accept4, SYS_bind, SYS_brk, SYS_capget, SYS_capset, SYS_chdir, SYS_clock_getres,
    SYS_clock_gettime, SYS_clock_nanosleep, SYS_close, SYS_close_range, SYS_connect, SYS_copy_file_range, SYS_dup,
    SYS_dup3, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_execve,
    SYS_execveat, SYS_exit, SYS_exit_group, SYS_faccessat, SYS_faccessat2, SYS_fadvise64, SYS_fallocate, SYS_fchdir,
    SYS_fchown, SYS_fchownat, SYS_fcntl, SYS_fdatasync, SYS_fgetxattr, SYS_flistxattr, SYS_flock, SYS_fremovexattr,
    SYS_fstat, SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_futex, SYS_futex_waitv, SYS_get_mempolicy,
    SYS_get_robust_list, SYS_getcpu, SYS_getcwd, SYS_getdents64, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getgroups,
    SYS_getitimer, SYS_getpeername, SYS_getpgid, SYS_getpid, SYS_getppid, SYS_getpriority, SYS_getrandom,
    SYS_getresgid, SYS_getresuid, SYS_getrlimit, SYS_getrusage, SYS_getsid, SYS_getsockname, SYS_getsockopt,
    SYS_gettid, SYS_gettimeofday, SYS_getuid, SYS_getxattr, SYS_inotify_add_watch, SYS_inotify_init1,
    SYS_inotify_rm_watch, SYS_ioprio_get, SYS_ioprio_set, SYS_kill, SYS_landlock_add_rule, SYS_landlock_create_ruleset,
    SYS_landlock_restrict_self, SYS_lgetxattr, SYS_linkat, SYS_listen, SYS_listxattr, SYS_llistxattr,
    SYS_lremovexattr, SYS_lseek, SYS_madvise, SYS_mbind, SYS_membarrier, SYS_memfd_create, SYS_mincore, SYS_mkdirat,
    SYS_mlock, SYS_mlock2, SYS_mlockall, SYS_mmap, SYS_mprotect, SYS_mq_getsetattr, SYS_mq_notify, SYS_mq_open,
    SYS_mq_timedreceive, SYS_mq_timedsend, SYS_mq_unlink, SYS_mremap, SYS_msgctl, SYS_msgget, SYS_msgrcv, SYS_msgsnd,
    SYS_msync, SYS_munlock, SYS_munlockall, SYS_munmap, SYS_nanosleep, SYS_newfstatat, SYS_openat, SYS_openat2,
    SYS_pidfd_open, SYS_pidfd_send_signal, SYS_pipe2, SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect, SYS_ppoll,
    SYS_prctl, SYS_pread64, SYS_preadv, SYS_preadv2, SYS_pselect6, SYS_pwrite64, SYS_pwritev,
    SYS_pwritev2, SYS_read, SYS_readahead, SYS_readlinkat, SYS_readv, SYS_recvfrom, SYS_recvmmsg, SYS_recvmsg,
    SYS_remap_file_pages, SYS_removexattr, SYS_renameat, SYS_renameat2, SYS_restart_syscall, SYS_rseq,
    SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask, SYS_rt_sigqueueinfo, SYS_rt_sigreturn,
    SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_rt_tgsigqueueinfo, SYS_sched_get_priority_max,
    SYS_sched_get_priority_min, SYS_sched_getaffinity, SYS_sched_getattr, SYS_sched_getparam,
    SYS_sched_getscheduler, SYS_sched_rr_get_interval, SYS_sched_setaffinity, SYS_sched_setattr,
    SYS_sched_setparam, SYS_sched_setscheduler, SYS_sched_yield, SYS_seccomp, SYS_semctl, SYS_semget, SYS_semop,
    SYS_semtimedop, SYS_sendfile, SYS_sendmmsg, SYS_sendmsg, SYS_sendto, SYS_set_mempolicy, SYS_set_robust_list,
    SYS_set_tid_address, SYS_setfsgid, SYS_setfsuid, SYS_setgid, SYS_setgroups, SYS_setitimer, SYS_setpgid,
    SYS_setpriority, SYS_setregid, SYS_setresgid, SYS_setresuid, SYS_setreuid, SYS_setrlimit, SYS_setsid,
    SYS_setsockopt, SYS_setuid, SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_shmget, SYS_shutdown, SYS_sigaltstack,
    SYS_signalfd4, SYS_socketpair, SYS_splice, SYS_statfs, SYS_statx, SYS_symlinkat, SYS_sync, SYS_sync_file_range,
    SYS_syncfs, SYS_sysinfo, SYS_tee, SYS_tgkill, SYS_timer_create, SYS_timer_delete, SYS_timer_getoverrun,
    SYS_timer_gettime, SYS_timer_settime, SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime, SYS_times,
    SYS_tkill, SYS_truncate, SYS_umask, SYS_uname, SYS_unlinkat, SYS_utimensat, SYS_vmsplice, SYS_wait4, SYS_waitid,
    SYS_write, SYS_writev,
};

/// Calls that newer architectures no longer have.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[Call] = calls! {
    SYS_access, SYS_alarm, SYS_arch_prctl, SYS_chown, SYS_creat, SYS_dup2, SYS_epoll_create, SYS_epoll_wait,
    SYS_eventfd, SYS_fork, SYS_futimesat, SYS_getdents, SYS_getpgrp, SYS_inotify_init, SYS_lchown, SYS_link, SYS_lstat,
    SYS_mkdir, SYS_open, SYS_pause, SYS_pipe, SYS_poll, SYS_readlink, SYS_rename, SYS_rmdir, SYS_select, SYS_signalfd,
    SYS_stat, SYS_symlink, SYS_time, SYS_unlink, SYS_utime, SYS_utimes, SYS_vfork,
};
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[Call] = &[];

/// Calls of one architecture that answer `EPERM`.
#[cfg(target_arch = "x86_64")]
const REFUSED_OLD: &[Call] = calls![SYS_ioperm, SYS_iopl, SYS_kexec_file_load, SYS_modify_ldt, SYS_ustat, SYS_uselib];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLD: &[Call] = calls![SYS_kexec_file_load];

/// Installs the filters for this thread and all that it will start. No capability is needed; no privilege can be gained
/// from then on.
pub(super) fn install() -> Result<(), SeccompError> {
    for program in programs()? {
        apply(&program)?;
    }
    Ok(())
}

/// The same table as OCI's runtime specification writes it, as far as it can: `ioctl` cannot be guarded there, because
/// libseccomp takes no two conditions on one argument, and guarded calls answer `ENOSYS`.
pub(super) fn oci() -> Result<LinuxSeccomp, OciSpecError> {
    let names = |calls: &[&[Call]]| -> Vec<String> {
        calls.iter().copied().flatten().map(|(name, _)| (*name).to_owned()).collect()
    };
    let errno = |calls: &[&[Call]], errno: i32| {
        LinuxSyscallBuilder::default()
            .names(names(calls))
            .action(LinuxSeccompAction::ScmpActErrno)
            .errno_ret(errno.cast_unsigned())
            .build()
    };
    let allow = |names: Vec<String>, args: Vec<LinuxSeccompArg>| {
        LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow).args(args).build()
    };
    let mut always = names(&[ALLOWED, ALLOWED_OLD]);
    let mut syscalls: Vec<LinuxSyscall> =
        vec![errno(&[REFUSED, REFUSED_OLD], libc::EPERM)?, errno(&[UNSUPPORTED], libc::ENOTSUP)?];
    for Guard { call: (name, _), argument, allowed } in GUARDED {
        match allowed {
            Values::NoneOf(_) => always.push((*name).to_owned()),
            Values::Masked { mask, values } => {
                for value in *values {
                    let argument = LinuxSeccompArgBuilder::default()
                        .index(*argument)
                        .value(*mask)
                        .value_two(*value)
                        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
                        .build()?;
                    syscalls.push(allow(vec![(*name).to_owned()], vec![argument])?);
                }
            }
        }
    }
    syscalls.push(LinuxSyscallBuilder::default().names(always).action(LinuxSeccompAction::ScmpActAllow).build()?);
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(libc::ENOSYS.cast_unsigned())
        .architectures(vec![if cfg!(target_arch = "x86_64") { Arch::ScmpArchX86_64 } else { Arch::ScmpArchAarch64 }])
        .syscalls(syscalls)
        .build()
}

/// In the order in which they have to be installed.
fn programs() -> Result<Vec<BpfProgram>, SeccompError> {
    let architecture: TargetArch = std::env::consts::ARCH.try_into()?;
    let compile = |rules, otherwise, matched| -> Result<BpfProgram, SeccompError> {
        Ok(SeccompFilter::new(rules, otherwise, matched, architecture)?.try_into()?)
    };
    let errno = |errno: i32| SeccompAction::Errno(errno.cast_unsigned());

    let mut granted: BTreeMap<i64, Vec<SeccompRule>> = always(&[ALLOWED, ALLOWED_OLD]);
    for guard in GUARDED {
        granted.insert(guard.call.1, guard.rules()?);
    }
    let mut known = always(&[ALLOWED, ALLOWED_OLD, REFUSED, REFUSED_OLD, UNSUPPORTED]);
    known.extend(GUARDED.iter().map(|guard| (guard.call.1, Vec::new())));

    let mut foreign = Vec::new();
    if let Values::Masked { values, .. } = SOCKET.allowed {
        for value in values {
            foreign.push(condition(SOCKET.argument, SeccompCmpOp::Ne, *value)?);
        }
    }
    let foreign = BTreeMap::from([(SOCKET.call.1, vec![SeccompRule::new(foreign)?])]);
    Ok(vec![
        compile(granted, errno(libc::EPERM), SeccompAction::Allow)?,
        compile(known, errno(libc::ENOSYS), SeccompAction::Allow)?,
        compile(always(&[UNSUPPORTED]), SeccompAction::Allow, errno(libc::ENOTSUP))?,
        compile(foreign, SeccompAction::Allow, errno(libc::EAFNOSUPPORT))?,
    ])
}

fn always(calls: &[&[Call]]) -> BTreeMap<i64, Vec<SeccompRule>> {
    calls.iter().copied().flatten().map(|(_, number)| (*number, Vec::new())).collect()
}

impl Guard {
    /// Rules of which one has to match for the call to be allowed.
    fn rules(&self) -> Result<Vec<SeccompRule>, BackendError> {
        match &self.allowed {
            Values::Masked { mask, values } => values
                .iter()
                .map(|value| {
                    let masked = SeccompCmpOp::MaskedEq((*mask).into());
                    SeccompRule::new(vec![condition(self.argument, masked, *value)?])
                })
                .collect(),
            Values::NoneOf(values) => {
                let conditions: Result<Vec<_>, _> =
                    values.iter().map(|value| condition(self.argument, SeccompCmpOp::Ne, *value)).collect();
                Ok(vec![SeccompRule::new(conditions?)?])
            }
        }
    }
}

/// The kernel takes only the lower half of the arguments that are looked at, so only that is compared.
fn condition(argument: u8, operator: SeccompCmpOp, value: u32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.into())
}

#[expect(unsafe_code, reason = "seccompiler's own installer cannot pass SPEC_ALLOW")]
fn apply(program: &BpfProgram) -> Result<(), SeccompError> {
    let failed = || SeccompError::Install(io::Error::last_os_error());
    let length = u16::try_from(program.len()).map_err(|error| SeccompError::Install(io::Error::other(error)))?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: no pointer is passed.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(failed());
    }
    // SAFETY: the kernel only reads `filter` and the `length` instructions that it points to; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const filter,
        )
    };
    if result == 0 { Ok(()) } else { Err(failed()) }
}
