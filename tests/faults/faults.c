/* Loaded before the C library (LD_PRELOAD): sees every call that changes files below one folder, writes it down, and
   lets one of them fail. Told by the environment, so that processes started by the program are seen too:

     FAULTS_UNDER   the folder; nothing outside it is seen or touched
     FAULTS_LOG     a file that gets a line for each call: its name, the path below the folder, and of a rename the name
                    before, with tabs between
     FAULTS_CALL    name of the call to fail, FAULTS_PATH its path, FAULTS_TURN which of those it is, from 1
     FAULTS_STATE   a file that counts them, over all threads and processes
     FAULTS_HOW     errno:N       the call fails once
                    stays:N       it fails, and so does every later call that changes anything
                    half:N        half of a write is done; it and every later one fail, as on a full disk
                    kill-before, kill-after
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(result, name, ...) ((result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

enum fate { LET, FAIL, HALF, KILL_AFTER };

/* The path below the folder, with the number of this process as PID and a random name as RANDOM; false where it lies
   elsewhere. */
static int below(int folder, const char *path, char *found) {
    const char *under = getenv("FAULTS_UNDER");
    char whole[2 * PATH_MAX], link[64];
    if (!under || !path) return 0;
    if (path[0] == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else {
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = syscall(SYS_readlink, link, whole, PATH_MAX);
        if (length < 0) return 0;
        snprintf(whole + length, sizeof whole - length, "%s%s", *path ? "/" : "", path);
    }
    size_t length = strlen(under);
    if (strncmp(whole, under, length) || (whole[length] && whole[length] != '/')) return 0;
    char number[32];
    snprintf(number, sizeof number, ".%d", getpid());
    char *place = strstr(whole + length, number);
    if (place) {
        memmove(place + 4, place + strlen(number), strlen(place + strlen(number)) + 1);
        memcpy(place, ".PID", 4);
    }
    place = strstr(whole + length, "/.tmp");
    if (place && strlen(place) == 11) strcpy(place + 5, "RANDOM");
    snprintf(found, PATH_MAX, "%s", whole[length] ? whole + length + 1 : ".");
    return 1;
}

static long count(const char *name, int more) {
    char text[32] = "";
    int state = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (state < 0) return 0;
    syscall(SYS_flock, state, LOCK_EX);
    syscall(SYS_pread64, state, text, sizeof text - 1, 0L);
    long turn = atol(text) + more;
    if (more) syscall(SYS_pwrite64, state, text, (size_t)snprintf(text, sizeof text, "%ld", turn), 0L);
    syscall(SYS_close, state);
    return turn;
}

/* What becomes of a call; errno is set where it fails. The calls made here are not seen: they go to the kernel. */
static enum fate meet_from(const char *call, int folder, const char *path, const char *from) {
    char found[PATH_MAX], line[2 * PATH_MAX + 64];
    int before = errno;
    if (!below(folder, path, found)) return errno = before, LET;
    const char *log = getenv("FAULTS_LOG"), *how = getenv("FAULTS_HOW"), *state = getenv("FAULTS_STATE");
    if (log) {
        int file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        syscall(SYS_write, file, line, (size_t)snprintf(line, sizeof line, "%s\t%s\t%s\n", call, found, from));
        syscall(SYS_close, file);
    }
    enum fate fate = LET;
    if (how && state) {
        int number = strchr(how, ':') ? atoi(strchr(how, ':') + 1) : 0, stays = !strncmp(how, "stays", 5);
        int is_it = !strcmp(call, getenv("FAULTS_CALL")) && !strcmp(found, getenv("FAULTS_PATH"));
        long turn = count(state, is_it), wanted = atol(getenv("FAULTS_TURN"));
        if (is_it && turn == wanted) {
            if (!strcmp(how, "kill-before")) kill(getpid(), SIGKILL);
            fate = !strcmp(how, "kill-after") ? KILL_AFTER : !strncmp(how, "half", 4) ? HALF : FAIL;
        } else if (turn >= wanted && (stays || (!strncmp(how, "half", 4) && !strcmp(call, "write")))) {
            fate = FAIL;
        }
        if (fate == FAIL) return errno = number, FAIL;
    }
    return errno = before, fate;
}

static enum fate meet(const char *call, int folder, const char *path) { return meet_from(call, folder, path, ""); }

#define AROUND(met, failed, doing) \
    enum fate fate_ = (met); \
    if (fate_ == FAIL) return failed; \
    __typeof__(doing) result_ = (doing); \
    if (fate_ == KILL_AFTER) kill(getpid(), SIGKILL); \
    return result_;

#define CHANGES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))
#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; va_start(more, flags); mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; va_end(more); \
        AROUND(CHANGES(flags) ? meet("open", AT_FDCWD, path) : LET, -1, REAL(int, name, const char *, int, ...)(path, flags, mode)) \
    }
#define OPENING_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list more; va_start(more, flags); mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; va_end(more); \
        AROUND(CHANGES(flags) ? meet("open", folder, path) : LET, -1, REAL(int, name, int, const char *, int, ...)(folder, path, flags, mode)) \
    }
#define STREAM(name) \
    FILE *name(const char *path, const char *mode) { \
        AROUND(strpbrk(mode, "wa+") ? meet("open", AT_FDCWD, path) : LET, NULL, REAL(FILE *, name, const char *, const char *)(path, mode)) \
    }
OPENING(open) OPENING(open64) OPENING_AT(openat) OPENING_AT(openat64) STREAM(fopen) STREAM(fopen64)

ssize_t write(int file, const void *data, size_t size) {
    enum fate fate = meet("write", file, "");
    if (fate == FAIL) return -1;
    ssize_t done = syscall(SYS_write, file, data, fate == HALF && size > 1 ? size / 2 : size);
    if (fate == KILL_AFTER) kill(getpid(), SIGKILL);
    return done;
}
ssize_t writev(int file, const struct iovec *parts, int number) {
    AROUND(meet("write", file, ""), -1, (ssize_t)syscall(SYS_writev, file, parts, number))
}
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    AROUND(meet("write", file, ""), -1, (ssize_t)syscall(SYS_pwrite64, file, data, size, at))
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) { return pwrite(file, data, size, at); }
size_t fwrite(const void *data, size_t size, size_t number, FILE *file) {
    AROUND(meet("write", fileno(file), ""), 0, REAL(size_t, fwrite, const void *, size_t, size_t, FILE *)(data, size, number, file))
}
ssize_t sendfile(int out, int in, off_t *at, size_t size) {
    AROUND(meet("write", out, ""), -1, (ssize_t)syscall(SYS_sendfile, out, in, at, size))
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t size) { return sendfile(out, in, at, size); }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    AROUND(meet("write", out, ""), -1, (ssize_t)syscall(SYS_copy_file_range, in, from, out, to, size, flags))
}
int ftruncate(int file, off_t size) { AROUND(meet("truncate", file, ""), -1, (int)syscall(SYS_ftruncate, file, size)) }
int ftruncate64(int file, off64_t size) { return ftruncate(file, size); }
int truncate(const char *path, off_t size) { AROUND(meet("truncate", AT_FDCWD, path), -1, (int)syscall(SYS_truncate, path, size)) }
int fallocate(int file, int mode, off_t at, off_t size) {
    AROUND(meet("truncate", file, ""), -1, (int)syscall(SYS_fallocate, file, mode, at, size))
}
int fallocate64(int file, int mode, off64_t at, off64_t size) { return fallocate(file, mode, at, size); }
int posix_fallocate(int file, off_t at, off_t size) { return fallocate(file, 0, at, size) ? errno : 0; }
int posix_fallocate64(int file, off64_t at, off64_t size) { return posix_fallocate(file, at, size); }
/* Nothing here loses power: what is to be flushed need not wait for the disk. */
int fsync(int file) { AROUND(meet("fsync", file, ""), -1, 0) }
int fdatasync(int file) { return fsync(file); }
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    char before[PATH_MAX];
    AROUND(meet_from("rename", to, new, below(from, old, before) ? before : ""), -1,
           (int)syscall(SYS_renameat2, from, old, to, new, flags))
}
int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }
int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }
int linkat(int from, const char *old, int to, const char *new, int flags) {
    AROUND(meet("link", to, new), -1, (int)syscall(SYS_linkat, from, old, to, new, flags))
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }
int symlinkat(const char *old, int to, const char *new) {
    AROUND(meet("link", to, new), -1, (int)syscall(SYS_symlinkat, old, to, new))
}
int symlink(const char *old, const char *new) { return symlinkat(old, AT_FDCWD, new); }
int mkdirat(int folder, const char *path, mode_t mode) {
    AROUND(meet("mkdir", folder, path), -1, (int)syscall(SYS_mkdirat, folder, path, mode))
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
int unlinkat(int folder, const char *path, int flags) {
    AROUND(meet("remove", folder, path), -1, (int)syscall(SYS_unlinkat, folder, path, flags))
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    AROUND(meet("chmod", folder, path), -1, (int)syscall(SYS_fchmodat, folder, path, mode))
}
int chmod(const char *path, mode_t mode) { return fchmodat(AT_FDCWD, path, mode, 0); }
int fchmod(int file, mode_t mode) { AROUND(meet("chmod", file, ""), -1, (int)syscall(SYS_fchmod, file, mode)) }

/* Writing through memory cannot fail with an error number; that nothing does so is seen in the log. */
void *mmap64(void *where, size_t size, int protection, int flags, int file, off64_t at) {
    AROUND((flags & MAP_SHARED) && (protection & PROT_WRITE) && file >= 0 ? meet("map", file, "") : LET, MAP_FAILED,
           (void *)syscall(SYS_mmap, where, size, protection, flags, file, at))
}
void *mmap(void *where, size_t size, int protection, int flags, int file, off_t at) {
    return mmap64(where, size, protection, flags, file, at);
}
