// Stands between a program and the files below some folders: counts its calls, makes one of them fail, and logs what it
// changes. Loaded with LD_PRELOAD; `shim.rs` builds it, sets the variables and reads the log.
//
//   SHIM_ROOTS   folders, absolute, separated by colons
//   SHIM_CALLS   a file that gets a line per call: its number, its name, what can happen to it, and its path
//   SHIM_AT      the number of the call to which something happens
//   SHIM_DOES    what happens: `fails`, `short` (half is read or written), or `kills` the process, after half of a write
//   SHIM_ERRNO   the error of a call that fails
//   SHIM_STAYS   later calls fail too: those that change something (1), as on a full disk, or all (2), as on one that is gone
//   SHIM_HIT     a file that gets a line when it happens: the call's name and path
//   SHIM_LOG     a file that gets what is changed, in order: a line, and the bytes of a write after it

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static const char *roots;
static int calls_fd = -1, log_fd = -1, hit_fd = -1;
static long number, happens_at = -1;
static int fail_errno, stays;
static const char *does = "";

enum { READS = 1, CHANGES = 2, INTERRUPTIBLE = 4, SHORTENS = 8 };
enum { NOT_OURS = 0, PASS = 1, FAIL = 2, SHORTEN = 3, KILL = 4 };

static int open_for_lines(const char *variable) {
    const char *path = getenv(variable);
    return path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
}

__attribute__((constructor)) static void start(void) {
    const char *at = getenv("SHIM_AT"), *code = getenv("SHIM_ERRNO");
    calls_fd = open_for_lines("SHIM_CALLS");
    log_fd = open_for_lines("SHIM_LOG");
    hit_fd = open_for_lines("SHIM_HIT");
    if (getenv("SHIM_DOES")) does = getenv("SHIM_DOES");
    happens_at = at ? atol(at) : -1;
    fail_errno = code ? atoi(code) : 0;
    stays = getenv("SHIM_STAYS") ? atoi(getenv("SHIM_STAYS")) : 0;
    // A program that never ends fails, too.
    alarm(100);
    roots = getenv("SHIM_ROOTS");
}

static void put(int fd, const void *bytes, size_t length) {
    for (const char *at = bytes; length > 0;) {
        long n = syscall(SYS_write, fd, at, length);
        if (n <= 0) abort();
        at += n;
        length -= n;
    }
}

static int is_ours(const char *path) {
    for (const char *root = roots; root && *root;) {
        size_t length = strcspn(root, ":");
        if (!strncmp(path, root, length) && (path[length] == '/' || !path[length])) return 1;
        root += length + (root[length] == ':');
    }
    return 0;
}

// The absolute path of an open file, as it is named now.
static const char *path_of(int fd, char *to) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, to, PATH_MAX - 1);
    to[n < 0 ? 0 : n] = 0;
    return to;
}

static const char *path_at(int dir, const char *name, char *to) {
    if (name[0] == '/') return strncpy(to, name, PATH_MAX - 1);
    if (dir == AT_FDCWD) {
        if (syscall(SYS_getcwd, to, PATH_MAX) < 0) to[0] = 0;
    } else {
        path_of(dir, to);
    }
    size_t length = strlen(to);
    if (strcmp(name, ".")) snprintf(to + length, PATH_MAX - length, "/%s", name);
    return to;
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

// Counts a call. The caller holds the lock.
static int meet(const char *name, const char *path, int kind) {
    if (!roots || !is_ours(path)) return NOT_OURS;
    long this = number++;
    char line[PATH_MAX + 64];
    if (calls_fd >= 0) put(calls_fd, line, snprintf(line, sizeof line, "%ld %s %d %s\n", this, name, kind, path));
    int met = PASS;
    if (this == happens_at) {
        if (*does == 's') met = kind & SHORTENS ? SHORTEN : PASS;
        else if (*does == 'k') met = KILL;
        else if (fail_errno != EINTR || kind & INTERRUPTIBLE) met = FAIL;
    } else if (happens_at >= 0 && this > happens_at && (stays > 1 || (stays && kind & CHANGES))) {
        met = FAIL;
    }
    if (met != PASS && this == happens_at && hit_fd >= 0) {
        put(hit_fd, line, snprintf(line, sizeof line, "%s %d %s\n", name, kind, path));
    }
    // A write is killed in its middle.
    if (met == KILL && !(kind & SHORTENS && kind & CHANGES)) die();
    return met;
}

static void note(const char *format, ...) {
    if (log_fd < 0) return;
    char line[3 * PATH_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    put(log_fd, line, n);
}

#define REAL(name) ({ static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })
#define LOCKED pthread_mutex_lock(&lock)
#define DONE(type, value) do { type result_ = (value); int e = errno; pthread_mutex_unlock(&lock); errno = e; return result_; } while (0)
#define FAILS(type, value) do { pthread_mutex_unlock(&lock); errno = fail_errno; return (type)(value); } while (0)

static int opened(const char *name, int dir, const char *file, int flags, mode_t mode) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet(name, path_at(dir, file, path), INTERRUPTIBLE | (flags & (O_CREAT | O_TRUNC) ? CHANGES : READS));
    if (met == FAIL) FAILS(int, -1);
    struct stat before;
    int was = met && syscall(SYS_newfstatat, dir, file, &before, AT_SYMLINK_NOFOLLOW) == 0;
    int fd = (int)syscall(SYS_openat, dir, file, flags, mode);
    if (met && fd >= 0 && flags & O_CREAT && !was) note("create\t%s\n", path);
    if (met && fd >= 0 && flags & O_TRUNC && was) note("truncate\t%s\t0\n", path);
    DONE(int, fd);
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); }
int open(const char *file, int flags, ...) { MODE return opened("open", AT_FDCWD, file, flags, mode); }
int open64(const char *file, int flags, ...) { MODE return opened("open", AT_FDCWD, file, flags, mode); }
int openat(int dir, const char *file, int flags, ...) { MODE return opened("open", dir, file, flags, mode); }
int openat64(int dir, const char *file, int flags, ...) { MODE return opened("open", dir, file, flags, mode); }

static ssize_t wrote(int fd, const void *bytes, size_t length, off_t at, int positioned) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet("write", path_of(fd, path), CHANGES | INTERRUPTIBLE | SHORTENS);
    if (met == FAIL) FAILS(ssize_t, -1);
    if ((met == SHORTEN || met == KILL) && length > 1) length /= 2;
    if (met && !positioned) at = syscall(SYS_lseek, fd, 0, SEEK_CUR);
    ssize_t n = positioned ? syscall(SYS_pwrite64, fd, bytes, length, at) : syscall(SYS_write, fd, bytes, length);
    if (met && n > 0 && log_fd >= 0) {
        note("write\t%s\t%ld\t%zd\n", path, (long)at, n);
        put(log_fd, bytes, n);
    }
    if (met == KILL) die();
    DONE(ssize_t, n);
}
ssize_t write(int fd, const void *bytes, size_t length) { return wrote(fd, bytes, length, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return wrote(fd, bytes, length, at, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) { return wrote(fd, bytes, length, at, 1); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    char path[PATH_MAX] = "";
    if (!roots || !is_ours(path_of(fd, path)) || count < 1) return syscall(SYS_writev, fd, parts, count);
    // The first part alone is a short write as well.
    for (int i = 0; i < count; i++) if (parts[i].iov_len) return wrote(fd, parts[i].iov_base, parts[i].iov_len, 0, 0);
    return 0;
}

static ssize_t did_read(int fd, void *to, size_t length, off_t at, int positioned) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet("read", path_of(fd, path), READS | INTERRUPTIBLE | SHORTENS);
    if (met == FAIL) FAILS(ssize_t, -1);
    if (met == SHORTEN && length > 1) length /= 2;
    pthread_mutex_unlock(&lock);
    return positioned ? syscall(SYS_pread64, fd, to, length, at) : syscall(SYS_read, fd, to, length);
}
ssize_t read(int fd, void *to, size_t length) { return did_read(fd, to, length, 0, 0); }
ssize_t pread(int fd, void *to, size_t length, off_t at) { return did_read(fd, to, length, at, 1); }
ssize_t pread64(int fd, void *to, size_t length, off64_t at) { return did_read(fd, to, length, at, 1); }

static int synced(int fd, long how) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet("sync", path_of(fd, path), CHANGES | INTERRUPTIBLE);
    if (met == FAIL) FAILS(int, -1);
    int r = (int)syscall(how, fd);
    if (met && r == 0) note("sync\t%s\n", path);
    DONE(int, r);
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int truncated(int fd, off_t length) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet("truncate", path_of(fd, path), CHANGES | INTERRUPTIBLE);
    if (met == FAIL) FAILS(int, -1);
    int r = (int)syscall(SYS_ftruncate, fd, length);
    if (met && r == 0) note("truncate\t%s\t%ld\n", path, (long)length);
    DONE(int, r);
}
int ftruncate(int fd, off_t length) { return truncated(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncated(fd, length); }

static int two(const char *name, int a, const char *from, int b, const char *to, int flags) {
    char old[PATH_MAX] = "", new[PATH_MAX] = "";
    LOCKED;
    path_at(a, from, old);
    int met = meet(name, path_at(b, to, new), CHANGES);
    if (met == FAIL) FAILS(int, -1);
    int renames = name[0] == 'r';
    int r = (int)(renames ? syscall(SYS_renameat2, a, from, b, to, flags) : syscall(SYS_linkat, a, from, b, to, flags));
    if (met && r == 0) note("%s\t%s\t%s\n", name, old, new);
    DONE(int, r);
}
int rename(const char *from, const char *to) { return two("rename", AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return two("rename", a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned f) { return two("rename", a, from, b, to, (int)f); }
int link(const char *from, const char *to) { return two("link", AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int f) { return two("link", a, from, b, to, f); }

static int one(const char *name, int dir, const char *file, int flags, mode_t mode) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet(name, path_at(dir, file, path), CHANGES);
    if (met == FAIL) FAILS(int, -1);
    int makes = name[0] == 'm';
    int r = (int)(makes ? syscall(SYS_mkdirat, dir, file, mode) : syscall(SYS_unlinkat, dir, file, flags));
    if (met && r == 0) note("%s\t%s\n", name, path);
    DONE(int, r);
}
int mkdir(const char *file, mode_t mode) { return one("mkdir", AT_FDCWD, file, 0, mode); }
int mkdirat(int dir, const char *file, mode_t mode) { return one("mkdir", dir, file, 0, mode); }
int unlink(const char *file) { return one("unlink", AT_FDCWD, file, 0, 0); }
int unlinkat(int dir, const char *file, int flags) { return one("unlink", dir, file, flags, 0); }
int rmdir(const char *file) { return one("unlink", AT_FDCWD, file, AT_REMOVEDIR, 0); }

#define CHANGED(path_expression, value) \
    char path[PATH_MAX] = ""; \
    LOCKED; \
    int met = meet("mode", path_expression, CHANGES); \
    if (met == FAIL) FAILS(int, -1); \
    DONE(int, value)

int fchmod(int fd, mode_t mode) { CHANGED(path_of(fd, path), (int)syscall(SYS_fchmod, fd, mode)); }
int fchown(int fd, uid_t user, gid_t group) { CHANGED(path_of(fd, path), (int)syscall(SYS_fchown, fd, user, group)); }
// Programs that cannot copy so read and write instead.
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t length, unsigned flags) {
    (void)from, (void)a, (void)to, (void)b, (void)length, (void)flags;
    errno = ENOSYS;
    return -1;
}

// A lock, and what else a program asks about an open file and its locks.
int flock(int fd, int how) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet("lock", path_of(fd, path), READS | INTERRUPTIBLE);
    if (met == FAIL) FAILS(int, -1);
    pthread_mutex_unlock(&lock);
    return (int)syscall(SYS_flock, fd, how);
}
static int controlled(int fd, int what, void *with) {
    int locks = what == F_SETLK || what == F_SETLKW || what == F_GETLK || what == F_OFD_SETLK || what == F_OFD_SETLKW;
    if (locks) {
        char path[PATH_MAX] = "";
        LOCKED;
        int met = meet("lock", path_of(fd, path), READS | (what == F_SETLKW || what == F_OFD_SETLKW ? INTERRUPTIBLE : 0));
        if (met == FAIL) FAILS(int, -1);
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_fcntl, fd, what, with);
}
int fcntl(int fd, int what, ...) {
    va_list a;
    va_start(a, what);
    void *with = va_arg(a, void *);
    va_end(a);
    return controlled(fd, what, with);
}
int fcntl64(int fd, int what, ...) {
    va_list a;
    va_start(a, what);
    void *with = va_arg(a, void *);
    va_end(a);
    return controlled(fd, what, with);
}

// Maps of files; what is read through them later cannot fail here.
void *mmap(void *at, size_t length, int how, int flags, int fd, off_t from) {
    if (fd >= 0 && !(flags & MAP_ANONYMOUS)) {
        char path[PATH_MAX] = "";
        LOCKED;
        int met = meet("map", path_of(fd, path), READS);
        if (met == FAIL) FAILS(void *, MAP_FAILED);
        pthread_mutex_unlock(&lock);
    }
    return (void *)syscall(SYS_mmap, at, length, how, flags, fd, from);
}
void *mmap64(void *at, size_t length, int how, int flags, int fd, off64_t from) {
    return mmap(at, length, how, flags, fd, from);
}

#define ASKED(name, dir, file, value) \
    char path[PATH_MAX] = ""; \
    LOCKED; \
    int met = meet(name, *(const char *)(file) ? path_at(dir, file, path) : path_of(dir, path), READS); \
    if (met == FAIL) FAILS(__typeof__(value), -1); \
    DONE(__typeof__(value), value)

int statx(int dir, const char *restrict file, int flags, unsigned mask, struct statx *restrict to) {
    // Rust's library asks without a buffer whether the system has this call.
    void *volatile buffer = to;
    if (!buffer) return (int)syscall(SYS_statx, dir, file, flags, mask, to);
    ASKED("stat", dir, file, (int)syscall(SYS_statx, dir, file, flags, mask, to));
}
int fstatat(int dir, const char *restrict file, struct stat *restrict to, int flags) {
    ASKED("stat", dir, file, (int)syscall(SYS_newfstatat, dir, file, to, flags));
}
int fstatat64(int dir, const char *restrict file, struct stat64 *restrict to, int flags) {
    ASKED("stat", dir, file, (int)syscall(SYS_newfstatat, dir, file, to, flags));
}
int stat(const char *restrict file, struct stat *restrict to) {
    ASKED("stat", AT_FDCWD, file, (int)syscall(SYS_newfstatat, AT_FDCWD, file, to, 0));
}
int stat64(const char *restrict file, struct stat64 *restrict to) {
    ASKED("stat", AT_FDCWD, file, (int)syscall(SYS_newfstatat, AT_FDCWD, file, to, 0));
}
int lstat(const char *restrict file, struct stat *restrict to) {
    ASKED("stat", AT_FDCWD, file, (int)syscall(SYS_newfstatat, AT_FDCWD, file, to, AT_SYMLINK_NOFOLLOW));
}
int lstat64(const char *restrict file, struct stat64 *restrict to) {
    ASKED("stat", AT_FDCWD, file, (int)syscall(SYS_newfstatat, AT_FDCWD, file, to, AT_SYMLINK_NOFOLLOW));
}
int fstat(int fd, struct stat *to) {
    ASKED("stat", fd, "", (int)syscall(SYS_fstat, fd, to));
}
int fstat64(int fd, struct stat64 *to) {
    ASKED("stat", fd, "", (int)syscall(SYS_fstat, fd, to));
}
int access(const char *file, int how) {
    ASKED("stat", AT_FDCWD, file, (int)syscall(SYS_faccessat, AT_FDCWD, file, how));
}
ssize_t readlink(const char *restrict file, char *restrict to, size_t length) {
    ASKED("link", AT_FDCWD, file, (ssize_t)syscall(SYS_readlinkat, AT_FDCWD, file, to, length));
}
char *realpath(const char *restrict file, char *restrict to) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet("link", path_at(AT_FDCWD, file, path), READS);
    if (met == FAIL) FAILS(char *, NULL);
    DONE(char *, REAL(realpath)(file, to));
}

DIR *opendir(const char *file) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet("list", path_at(AT_FDCWD, file, path), READS);
    if (met == FAIL) FAILS(DIR *, NULL);
    DONE(DIR *, REAL(opendir)(file));
}
DIR *fdopendir(int fd) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet("list", path_of(fd, path), READS);
    if (met == FAIL) FAILS(DIR *, NULL);
    DONE(DIR *, REAL(fdopendir)(fd));
}
struct dirent *readdir(DIR *dir) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet("list", path_of(dirfd(dir), path), READS);
    if (met == FAIL) FAILS(struct dirent *, NULL);
    DONE(struct dirent *, REAL(readdir)(dir));
}
struct dirent64 *readdir64(DIR *dir) {
    char path[PATH_MAX] = "";
    LOCKED;
    int met = meet("list", path_of(dirfd(dir), path), READS);
    if (met == FAIL) FAILS(struct dirent64 *, NULL);
    DONE(struct dirent64 *, REAL(readdir64)(dir));
}
