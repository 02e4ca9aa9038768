/* Counts the system calls that change a file system, and lets the one of a given number go wrong.

   Preloaded, so that SQLite's calls and those of every library are among them. A write to what is no regular file is
   none: pipes and sockets are not what a disk loses. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING = 0, KILL = -1, SHORT = -2 };

static long at, seen;
static int fault, lasting, off = 1;

/* The next call is number 1. A fault is an errno, KILL, or SHORT: half of what was to be written is. One that lasts is
   met by every later call too, but for those that only free something. */
void faults_arm(long number, int what, int lasts) { at = number; fault = what; lasting = lasts; seen = 0; off = 0; }
long faults_seen(void) { off = 1; return seen; }

static int step(int frees) {
    if (off) return NOTHING;
    long now = __sync_add_and_fetch(&seen, 1);
    if (at == 0 || now < at || (now > at && (!lasting || frees))) return NOTHING;
    if (fault == KILL) kill(getpid(), SIGKILL);
    if (now > at && fault == SHORT) return NOTHING;
    return fault;
}

static int is_file(int descriptor) {
    struct stat about;
    int before = errno;
    int regular = fstat(descriptor, &about) == 0 && S_ISREG(about.st_mode);
    errno = before;
    return regular;
}

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })
#define FAILS(frees) int why = step(frees); if (why > 0) { errno = why; return -1; } (void)why

#define WRITES(type, name, declared, size, passed, half)                                                              \
    type name declared {                                                                                               \
        if (is_file(descriptor)) {                                                                                     \
            int why = step(0);                                                                                         \
            if (why > 0) { errno = why; return -1; }                                                                   \
            if (why == SHORT && (size) > 1) return REAL(name) half;                                                    \
        }                                                                                                              \
        return REAL(name) passed;                                                                                      \
    }

WRITES(ssize_t, write, (int descriptor, const void *data, size_t count), count, (descriptor, data, count),
       (descriptor, data, count / 2))
WRITES(ssize_t, pwrite, (int descriptor, const void *data, size_t count, off_t place), count,
       (descriptor, data, count, place), (descriptor, data, count / 2, place))
WRITES(ssize_t, pwrite64, (int descriptor, const void *data, size_t count, off64_t place), count,
       (descriptor, data, count, place), (descriptor, data, count / 2, place))
WRITES(ssize_t, writev, (int descriptor, const struct iovec *parts, int count), 0, (descriptor, parts, count),
       (descriptor, parts, count))
WRITES(ssize_t, sendfile, (int descriptor, int from, off_t *place, size_t count), count,
       (descriptor, from, place, count), (descriptor, from, place, count / 2))
WRITES(ssize_t, sendfile64, (int descriptor, int from, off64_t *place, size_t count), count,
       (descriptor, from, place, count), (descriptor, from, place, count / 2))

#define CHANGES(name, declared, passed, frees)                                                                         \
    int name declared {                                                                                                \
        FAILS(frees);                                                                                                  \
        return REAL(name) passed;                                                                                      \
    }

CHANGES(fsync, (int descriptor), (descriptor), 0)
CHANGES(fdatasync, (int descriptor), (descriptor), 0)
CHANGES(ftruncate, (int descriptor, off_t size), (descriptor, size), 1)
CHANGES(ftruncate64, (int descriptor, off64_t size), (descriptor, size), 1)
CHANGES(rename, (const char *old, const char *new), (old, new), 0)
CHANGES(renameat, (int one, const char *old, int two, const char *new), (one, old, two, new), 0)
CHANGES(renameat2, (int one, const char *old, int two, const char *new, unsigned int flags),
        (one, old, two, new, flags), 0)
CHANGES(link, (const char *old, const char *new), (old, new), 0)
CHANGES(linkat, (int one, const char *old, int two, const char *new, int flags), (one, old, two, new, flags), 0)
CHANGES(symlink, (const char *to, const char *name), (to, name), 0)
CHANGES(unlink, (const char *path), (path), 1)
CHANGES(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), 1)
CHANGES(rmdir, (const char *path), (path), 1)
CHANGES(mkdir, (const char *path, mode_t mode), (path, mode), 0)
CHANGES(mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), 0)
CHANGES(chmod, (const char *path, mode_t mode), (path, mode), 0)
CHANGES(fchmod, (int descriptor, mode_t mode), (descriptor, mode), 0)
CHANGES(fchmodat, (int folder, const char *path, mode_t mode, int flags), (folder, path, mode, flags), 0)

#define OPENS(name, declared, passed)                                                                                  \
    int name declared {                                                                                                \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                           \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        if (flags & (O_CREAT | O_TRUNC)) {                                                                             \
            FAILS(0);                                                                                                  \
        }                                                                                                              \
        return REAL(name) passed;                                                                                      \
    }

OPENS(open, (const char *path, int flags, ...), (path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENS(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
OPENS(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
