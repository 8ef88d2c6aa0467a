/* Records what a process does to files below one directory, for the test of power cuts: loaded by LD_PRELOAD.
 *
 * RECORD_ROOT names the directory, RECORD_TRACE the file that takes the records; without it nothing is recorded, and a sync
 * is one. Two more make a bad disk of it, for operations on paths that contain PART ("/" for all), of which the first N
 * are let through, and C have it:
 *
 *   RECORD_FAIL="KIND PART N C ERRNO"    KIND is write, sync, create, rename, unlink; a write that fails is there in half
 *   RECORD_DELAY="PART N C MICROSECONDS" a sync takes so much longer
 *
 * and only while the file RECORD_WHILE is there, if that is given. Each record is
 *
 *   kind u8, path length u16, path, offset u64, length u32, data
 *
 * in the byte order of the machine. Kinds: 'W' write, 'T' truncate, 'D' fdatasync, 'F' fsync, 'C' created, 'R' renamed
 * (data: new path), 'U' unlinked, 'M' directory made, 'X' directory removed, 'E' a sync that failed, 'N' what it should have
 * covered is forgotten, 'L' a line to standard
 * output. A lock makes the records a total order: what a sync covers stands before it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;
static const char *root, *only_while;

/* What is wrong with the disk: of the operations it is for, how many went through, and how many may yet have it. */
static struct fault {
	char kind[16], part[64];
	long through, left, value;
} fail, delay;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("RECORD_TRACE");
	root = getenv("RECORD_ROOT");
	only_while = getenv("RECORD_WHILE");
	if (path && root)
		trace = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if ((path = getenv("RECORD_FAIL")))
		sscanf(path, "%15s %63s %ld %ld %ld", fail.kind, fail.part, &fail.through, &fail.left, &fail.value);
	if ((path = getenv("RECORD_DELAY")))
		sscanf(path, "%63s %ld %ld %ld", delay.part, &delay.through, &delay.left, &delay.value);
}

/* What an operation meets: an error number, or microseconds; 0 for nothing. */
static long meets(struct fault *fault, const char *kind, const char *path)
{
	if (!fault->value || strcmp(fault->kind, kind) || !strstr(path, fault->part))
		return 0;
	if (only_while && syscall(SYS_faccessat, AT_FDCWD, only_while, F_OK))
		return 0;
	if (__atomic_fetch_sub(&fault->through, 1, __ATOMIC_RELAXED) > 0)
		return 0;
	return __atomic_fetch_sub(&fault->left, 1, __ATOMIC_RELAXED) > 0 ? fault->value : 0;
}

static int below_root(const char *path)
{
	size_t length = root ? strlen(root) : 0;
	return length && strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/* Path of an open file, if it is below the root and still has that name. */
static int path_of(int fd, char *path)
{
	char link[64];
	if (!root || fd == trace)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, PATH_MAX - 1);
	if (length <= 0)
		return 0;
	path[length] = 0;
	return below_root(path);
}

static void put(char kind, const char *path, uint64_t offset, const void *data, uint32_t length)
{
	uint16_t path_length = strlen(path);
	if (trace < 0)
		return;
	struct iovec parts[] = {
		{ &kind, 1 }, { &path_length, 2 }, { (void *)path, path_length }, { &offset, 8 }, { &length, 4 },
		{ (void *)data, length },
	};
	size_t whole = 15 + path_length + length;
	if (syscall(SYS_writev, trace, parts, 6) != (long)whole)
		abort(); /* a trace with a hole proves nothing */
}

/* What a write changed, newest first, until it is synced: when a sync fails, that is not on the disk, and is seen until the
 * kernel is told to forget its pages. Kept only where syncs are to fail. */
static struct undo {
	struct undo *next;
	char path[PATH_MAX];
	off64_t offset;
	size_t count;
	int doomed;
	char old[];
} *undos;

static void remember(const char *path, size_t count, off64_t offset)
{
	if (!fail.value || strcmp(fail.kind, "sync"))
		return;
	struct undo *undo = calloc(1, sizeof *undo + count); /* zeros where nothing was */
	strcpy(undo->path, path);
	undo->offset = offset, undo->count = count, undo->next = undos, undos = undo;
	int own = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	syscall(SYS_pread64, own, undo->old, count, offset);
	syscall(SYS_close, own);
}

static void synced(const char *path, int has_failed)
{
	for (struct undo **at = &undos, *undo; (undo = *at);) {
		if (undo->doomed || strcmp(undo->path, path)) {
			at = &undo->next;
		} else if (has_failed) {
			undo->doomed = 1;
		} else {
			*at = undo->next;
			free(undo);
		}
	}
}

static void forget(const char *path)
{
	int own = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
	for (struct undo **at = &undos, *undo; (undo = *at);) {
		if (!undo->doomed || strcmp(undo->path, path)) {
			at = &undo->next;
			continue;
		}
		syscall(SYS_pwrite64, own, undo->old, undo->count, undo->offset);
		*at = undo->next;
		free(undo);
	}
	syscall(SYS_close, own);
	put('N', path, 0, "", 0);
}

int posix_fadvise(int fd, off_t offset, off_t length, int advice)
{
	char path[PATH_MAX];
	if (advice == POSIX_FADV_DONTNEED && path_of(fd, path)) {
		pthread_mutex_lock(&lock);
		forget(path);
		pthread_mutex_unlock(&lock);
	}
	return syscall(SYS_fadvise64, fd, offset, length, advice);
}

#define LOCKED(statement) do { pthread_mutex_lock(&lock); int kept = errno; statement; errno = kept; pthread_mutex_unlock(&lock); } while (0)

static ssize_t recorded_pwrite(int fd, const void *data, size_t count, off64_t offset)
{
	char path[PATH_MAX];
	ssize_t done;
	if (!path_of(fd, path))
		return syscall(SYS_pwrite64, fd, data, count, offset);
	pthread_mutex_lock(&lock);
	long error = meets(&fail, "write", path);
	remember(path, count, offset);
	done = syscall(SYS_pwrite64, fd, data, error ? count / 2 : count, offset);
	if (done > 0)
		put('W', path, offset, data, done);
	pthread_mutex_unlock(&lock);
	return error ? (errno = error, -1) : done;
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t offset) { return recorded_pwrite(fd, data, count, offset); }
ssize_t pwrite64(int fd, const void *data, size_t count, off64_t offset) { return recorded_pwrite(fd, data, count, offset); }

ssize_t write(int fd, const void *data, size_t count)
{
	char path[PATH_MAX];
	ssize_t done;
	if (fd == STDOUT_FILENO && trace >= 0) {
		pthread_mutex_lock(&lock);
		done = syscall(SYS_write, fd, data, count);
		if (done > 0)
			put('L', "", 0, data, done);
		pthread_mutex_unlock(&lock);
		return done;
	}
	if (!path_of(fd, path))
		return syscall(SYS_write, fd, data, count);
	pthread_mutex_lock(&lock);
	long error = meets(&fail, "write", path);
	remember(path, count, lseek64(fd, 0, SEEK_CUR));
	done = syscall(SYS_write, fd, data, error ? count / 2 : count);
	if (done > 0)
		put('W', path, lseek64(fd, 0, SEEK_CUR) - done, data, done);
	pthread_mutex_unlock(&lock);
	return error ? (errno = error, -1) : done;
}

static int recorded_sync(int fd, char kind, long number)
{
	char path[PATH_MAX];
	int result;
	if (!path_of(fd, path))
		return syscall(number, fd);
	/* The lock is held meanwhile: what is written during a sync may or may not be covered; here it waits. The disk is
	 * not asked, since only the record counts. */
	long wait = meets(&delay, "", path);
	if (wait)
		usleep(wait);
	if (trace < 0 && !fail.value)
		return syscall(number, fd);
	pthread_mutex_lock(&lock);
	long error = meets(&fail, "sync", path);
	result = error ? -1 : 0;
	put(error ? 'E' : kind, path, 0, "", 0);
	synced(path, error != 0);
	pthread_mutex_unlock(&lock);
	if (error)
		errno = error;
	return result;
}

int fdatasync(int fd) { return recorded_sync(fd, 'D', SYS_fdatasync); }
int fsync(int fd) { return recorded_sync(fd, 'F', SYS_fsync); }

static int recorded_truncate(int fd, off64_t length)
{
	char path[PATH_MAX];
	int result;
	if (!path_of(fd, path))
		return syscall(SYS_ftruncate, fd, length);
	pthread_mutex_lock(&lock);
	result = syscall(SYS_ftruncate, fd, length);
	if (result == 0)
		put('T', path, length, "", 0);
	pthread_mutex_unlock(&lock);
	return result;
}

int ftruncate(int fd, off_t length) { return recorded_truncate(fd, length); }
int ftruncate64(int fd, off64_t length) { return recorded_truncate(fd, length); }

static int recorded_open(int directory, const char *path, int flags, int mode)
{
	int result;
	if (!below_root(path) || !(flags & (O_CREAT | O_TRUNC)))
		return syscall(SYS_openat, directory, path, flags, mode);
	long error = flags & O_CREAT ? meets(&fail, "create", path) : 0;
	if (error)
		return errno = error, -1;
	pthread_mutex_lock(&lock);
	int there = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
	result = syscall(SYS_openat, directory, path, flags, mode);
	int kept = errno;
	if (result >= 0 && !there)
		put('C', path, 0, "", 0);
	else if (result >= 0 && (flags & O_TRUNC))
		put('T', path, 0, "", 0);
	errno = kept;
	pthread_mutex_unlock(&lock);
	return result;
}

#define MODE(flags, mode) do { va_list list; va_start(list, flags); if ((flags) & O_CREAT) mode = va_arg(list, int); va_end(list); } while (0)

int open(const char *path, int flags, ...) { int mode = 0; MODE(flags, mode); return recorded_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { int mode = 0; MODE(flags, mode); return recorded_open(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { int mode = 0; MODE(flags, mode); return recorded_open(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { int mode = 0; MODE(flags, mode); return recorded_open(at, path, flags, mode); }

int rename(const char *from, const char *to)
{
	int result;
	long error = below_root(from) ? meets(&fail, "rename", from) : 0;
	if (error)
		return errno = error, -1;
	LOCKED(result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0); kept = errno;
	       if (result == 0 && below_root(from)) put('R', from, 0, to, strlen(to)));
	return result;
}

int unlink(const char *path)
{
	int result;
	long error = below_root(path) ? meets(&fail, "unlink", path) : 0;
	if (error)
		return errno = error, -1;
	LOCKED(result = syscall(SYS_unlinkat, AT_FDCWD, path, 0); kept = errno;
	       if (result == 0 && below_root(path)) put('U', path, 0, "", 0));
	return result;
}

int unlinkat(int at, const char *path, int flags)
{
	char whole[PATH_MAX], directory[PATH_MAX];
	int result;
	if (path[0] == '/')
		snprintf(whole, sizeof whole, "%s", path);
	else if (at == AT_FDCWD || !path_of(at, directory)
		 || snprintf(whole, sizeof whole, "%s/%s", directory, path) >= (int)sizeof whole)
		whole[0] = 0;
	long error = below_root(whole) ? meets(&fail, "unlink", whole) : 0;
	if (error)
		return errno = error, -1;
	LOCKED(result = syscall(SYS_unlinkat, at, path, flags); kept = errno;
	       if (result == 0 && below_root(whole)) put(flags & AT_REMOVEDIR ? 'X' : 'U', whole, 0, "", 0));
	return result;
}

int rmdir(const char *path)
{
	int result;
	LOCKED(result = syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR); kept = errno;
	       if (result == 0 && below_root(path)) put('X', path, 0, "", 0));
	return result;
}

int mkdir(const char *path, mode_t mode)
{
	int result;
	LOCKED(result = syscall(SYS_mkdirat, AT_FDCWD, path, mode); kept = errno;
	       if (result == 0 && below_root(path)) put('M', path, 0, "", 0));
	return result;
}

/* Copies go through write, where they are seen. */
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t count, unsigned flags)
{
	(void)from; (void)a; (void)to; (void)b; (void)count; (void)flags;
	errno = ENOSYS;
	return -1;
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t count)
{
	(void)to; (void)from; (void)offset; (void)count;
	errno = ENOSYS;
	return -1;
}

ssize_t sendfile(int to, int from, off_t *offset, size_t count) { return sendfile64(to, from, offset, count); }
