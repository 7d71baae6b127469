//! System calls that no safe library offers, each behind a safe function.
//!
//! All of them are called from the helper, the keeper or the init only, which have one thread each.

#![expect(unsafe_code, reason = "the system calls of the sandbox have no safe wrapper")]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use libc::c_long;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::{ForkResult, Pid};

/// Which process one is after [`clone_process`].
pub(super) enum Cloned {
    /// The new one.
    Child,
    /// The old one, and the new one's id.
    Parent(Pid),
}

/// How a child ended and what it used.
pub(super) struct Reaped {
    pub(super) pid: Pid,
    pub(super) status: i32,
    pub(super) usage: libc::rusage,
}

/// Forks into new namespaces.
pub(super) fn clone_process(flags: CloneFlags) -> io::Result<Cloned> {
    let flags = c_long::from(flags.bits() | libc::SIGCHLD);
    // SAFETY: without a stack of its own the child runs on a copy of this one, as after `fork`. This process has one
    // thread, so no lock can be held by another.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent(Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?))),
    }
}

/// `fork` in a process that has one thread.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: this process has one thread, so that the child may do anything.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => Ok(None),
        ForkResult::Parent { child } => Ok(Some(child)),
    }
}

/// Starts a process that ends at once, `count` times, so that later ones have higher numbers.
pub(super) fn skip_process_ids(count: u32) -> io::Result<()> {
    let mut stack = vec![0; 64 << 10];
    for _ in 0..count {
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // SAFETY: the child has a stack of its own, shares the rest with this process, which waits for it, and only ends.
        unsafe { nix::sched::clone(Box::new(|| 0), &mut stack, flags, Some(libc::SIGCHLD)) }?;
        wait_any()?;
    }
    Ok(())
}

/// Ends this process without running anything that another process may have left to be run at the end.
pub(super) fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` takes no pointer and does not return.
    unsafe { libc::_exit(status) }
}

/// Waits for any child.
pub(super) fn wait_any() -> io::Result<Reaped> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are valid for writing.
        let pid = unsafe { libc::wait4(-1, &raw mut status, 0, usage.as_mut_ptr()) };
        if pid >= 0 {
            // SAFETY: zeroed is a valid `rusage`, and the kernel filled it in.
            return Ok(Reaped { pid: Pid::from_raw(pid), status, usage: unsafe { usage.assume_init() } });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Kills and reaps every other process of the box. Only its first process may ask for that.
pub(super) fn end_all() -> io::Result<()> {
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(errno.into()),
    }
    loop {
        match wait_any() {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Closes every file descriptor from `first` on that this process inherited.
pub(super) fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: nothing in this process owns a descriptor yet.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The helper's standard input: its connection to pgproof.
pub(super) fn standard_input() -> UnixStream {
    // SAFETY: descriptor 0 is open (the parent passed it) and nobody else in this process uses it.
    unsafe { UnixStream::from_raw_fd(0) }
}

/// A descriptor that becomes readable when the child `pid` ends.
pub(super) fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets the loopback interface up.
pub(super) fn loopback_up() -> io::Result<()> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: `request` is a valid `ifreq` for SIOCSIFFLAGS to read.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the terminal `fd` this session's controlling terminal.
pub(super) fn set_controlling_terminal(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends `fd` over `socket`.
pub(super) fn send_fd(socket: &UnixStream, fd: RawFd) -> io::Result<()> {
    let fds = [fd];
    let message = [ControlMessage::ScmRights(&fds)];
    loop {
        let result = sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"f")], &message, MsgFlags::MSG_NOSIGNAL, None);
        match result {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives a descriptor that [`send_fd`] sent.
pub(super) fn receive_fd(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut space = cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let [fd] = fds[..]
        {
            // SAFETY: the kernel has just opened it for us.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Puts `first` at the number `first_at`, and `second`, if there is one, at `second_at`; none of them is inherited.
pub(super) fn place(first: &OwnedFd, second: Option<&OwnedFd>, first_at: RawFd, second_at: RawFd) -> io::Result<()> {
    // Above both numbers first, so that neither overwrites the other.
    let above = |fd: &OwnedFd| -> io::Result<RawFd> {
        Ok(nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(first_at.max(second_at) + 1))?)
    };
    for (fd, at) in
        [Some((above(first)?, first_at)), second.map(|fd| Ok::<_, io::Error>((above(fd)?, second_at))).transpose()?]
            .into_iter()
            .flatten()
    {
        // SAFETY: no pointer is passed; what was at `at` is used by nobody any more.
        if unsafe { libc::dup3(fd, at, libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The descriptor of this number, which is open and which nobody else uses.
pub(super) fn adopt_fd(number: RawFd) -> OwnedFd {
    // SAFETY: the caller put it there with `place`.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// The descriptor of this number as a file.
pub(super) fn adopt(number: RawFd) -> std::fs::File {
    adopt_fd(number).into()
}

/// The descriptor of this number for a call that only asks about it.
pub(super) fn borrow<'a>(number: RawFd) -> std::os::fd::BorrowedFd<'a> {
    // SAFETY: the caller has just seen that it is open, in a process with one thread.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }
}

/// Gives every signal the effect that it has where nobody changed it. Rust programs ignore SIGPIPE; what they start would too.
pub(super) fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is no function of this program. SIGKILL, SIGSTOP and two of the C library's refuse, rightly.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an empty set is made and then only read.
    unsafe {
        let mut none = MaybeUninit::<libc::sigset_t>::zeroed();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// The rows and columns of a terminal's window; `None` if it is no terminal or has no window.
pub(super) fn window_size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut window = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: `window` is a valid `winsize` for the kernel to write.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, window.as_mut_ptr()) };
    // SAFETY: zeroed is a valid `winsize`, and the kernel may have filled it in.
    let window = unsafe { window.assume_init() };
    (result == 0 && window.ws_row > 0 && window.ws_col > 0).then_some((window.ws_row, window.ws_col))
}

/// Tells a terminal the rows and columns of its window.
pub(super) fn set_window_size(terminal: BorrowedFd<'_>, (rows, columns): (u16, u16)) -> io::Result<()> {
    let window = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `window` is a valid `winsize` for the kernel to read.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const window) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Starts no process: Linux finds the arguments too short.
pub(super) fn clone3_of_nothing() -> nix::Result<c_long> {
    // SAFETY: the kernel reads nothing of a structure without size.
    Errno::result(unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<libc::clone_args>(), 0_usize) })
}

/// Sets no attribute: there is no such file.
pub(super) fn set_attribute_of_nothing() -> nix::Result<c_long> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: the name is a C string, and the kernel reads no byte of an empty value.
    Errno::result(unsafe { libc::syscall(libc::SYS_fsetxattr, -1, c"user.pgproof".as_ptr(), none, 0_usize, 0) })
}

/// Asks by number for the limit of the first process, but not to be told it.
pub(super) fn limit_of_first_process() -> nix::Result<c_long> {
    let none = std::ptr::null::<libc::rlimit64>();
    // SAFETY: the kernel neither reads nor writes where it is given no place.
    Errno::result(unsafe { libc::syscall(libc::SYS_prlimit64, 1, libc::RLIMIT_NOFILE, none, none.cast_mut()) })
}

/// Opens a socket to the kernel, and closes it.
pub(super) fn netlink() -> nix::Result<c_long> {
    // SAFETY: no pointer is passed.
    let fd = Errno::result(unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    drop(adopt_fd(fd));
    Ok(0)
}
