//! The functions of the C library by which hardening shows.

/// The functions that have a checking variant `__<name>_chk` in glibc 2.36. Sorted. Not `strlcpy` and its like, which
/// got one in 2.38: PostgreSQL and others bring their own of that name.
#[rustfmt::skip]
const CHECKABLE: [&str; 78] = [
    "asprintf", "confstr", "dprintf", "explicit_bzero", "fgets", "fgets_unlocked", "fgetws", "fgetws_unlocked",
    "fprintf", "fread", "fread_unlocked", "fwprintf", "getcwd", "getdomainname", "getgroups", "gethostname",
    "getlogin_r", "gets", "getwd", "longjmp", "mbsnrtowcs", "mbsrtowcs", "mbstowcs", "memcpy", "memmove",
    "mempcpy", "memset", "obstack_printf", "obstack_vprintf", "poll", "ppoll", "pread", "pread64", "printf",
    "ptsname_r", "read", "readlink", "readlinkat", "realpath", "recv", "recvfrom", "snprintf", "sprintf",
    "stpcpy", "stpncpy", "strcat", "strcpy", "strncat", "strncpy", "swprintf", "syslog", "ttyname_r",
    "vasprintf", "vdprintf", "vfprintf", "vfwprintf", "vprintf", "vsnprintf", "vsprintf", "vswprintf",
    "vsyslog", "vwprintf", "wcpcpy", "wcpncpy", "wcrtomb", "wcscat", "wcscpy", "wcsncat", "wcsncpy",
    "wcsnrtombs", "wcsrtombs", "wcstombs", "wctomb", "wmemcpy", "wmemmove", "wmempcpy", "wmemset", "wprintf",
];

/// Whether this is what a function calls that finds its stack smashed, or the value that it finds it by.
pub(super) fn guards_stack(name: &[u8]) -> bool {
    name == b"__stack_chk_fail" || name == b"__stack_chk_guard"
}

/// Whether this is a checking variant.
pub(super) fn is_fortified(name: &[u8]) -> bool {
    name.starts_with(b"__") && name.ends_with(b"_chk")
}

/// Whether there is a checking variant of this.
pub(super) fn has_fortified(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| CHECKABLE.binary_search(&name).is_ok())
}

/// What calls its checking variant wherever FORTIFY is on. Of the others the compiler calls the plain one where it does not
/// know how large the destination is.
#[rustfmt::skip]
const ALWAYS: [&str; 18] = [
    "_longjmp", "asprintf", "dprintf", "fprintf", "fwprintf", "longjmp", "obstack_printf", "obstack_vprintf", "printf",
    "siglongjmp", "syslog", "vasprintf", "vdprintf", "vfprintf", "vfwprintf", "vprintf", "vsyslog", "vwprintf",
];

/// Whether a call of this alone says that FORTIFY is off.
pub(super) fn is_never_plain(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| ALWAYS.binary_search(&name).is_ok())
}
