/* Records what a process does to files below one directory, for the test of power cuts: loaded by LD_PRELOAD.
 *
 * RECORD_ROOT names the directory, RECORD_TRACE the file that takes the records. Each record is
 *
 *   kind u8, path length u16, path, offset u64, length u32, data
 *
 * in the byte order of the machine. Kinds: 'W' write, 'T' truncate, 'D' fdatasync, 'F' fsync, 'C' created, 'R' renamed
 * (data: new path), 'U' unlinked, 'M' directory made, 'X' directory removed, 'L' a line to standard output. A lock makes
 * the records a total order: what a sync covers stands before it.
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
static const char *root;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("RECORD_TRACE");
	root = getenv("RECORD_ROOT");
	if (path && root)
		trace = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int below_root(const char *path)
{
	size_t length = root ? strlen(root) : 0;
	return trace >= 0 && length && strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/* Path of an open file, if it is below the root and still has that name. */
static int path_of(int fd, char *path)
{
	char link[64];
	if (trace < 0 || fd == trace)
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
	struct iovec parts[] = {
		{ &kind, 1 }, { &path_length, 2 }, { (void *)path, path_length }, { &offset, 8 }, { &length, 4 },
		{ (void *)data, length },
	};
	size_t whole = 15 + path_length + length;
	if (syscall(SYS_writev, trace, parts, 6) != (long)whole)
		abort(); /* a trace with a hole proves nothing */
}

#define LOCKED(statement) do { pthread_mutex_lock(&lock); int kept = errno; statement; errno = kept; pthread_mutex_unlock(&lock); } while (0)

static ssize_t recorded_pwrite(int fd, const void *data, size_t count, off64_t offset)
{
	char path[PATH_MAX];
	ssize_t done;
	if (!path_of(fd, path))
		return syscall(SYS_pwrite64, fd, data, count, offset);
	pthread_mutex_lock(&lock);
	done = syscall(SYS_pwrite64, fd, data, count, offset);
	if (done > 0)
		put('W', path, offset, data, done);
	pthread_mutex_unlock(&lock);
	return done;
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
	done = syscall(SYS_write, fd, data, count);
	if (done > 0)
		put('W', path, lseek64(fd, 0, SEEK_CUR) - done, data, done);
	pthread_mutex_unlock(&lock);
	return done;
}

static int recorded_sync(int fd, char kind, long number)
{
	char path[PATH_MAX];
	int result;
	if (!path_of(fd, path))
		return syscall(number, fd);
	/* The lock is held meanwhile: what is written during a sync may or may not be covered; here it waits. The disk is
	 * not asked, since only the record counts. */
	pthread_mutex_lock(&lock);
	result = 0;
	put(kind, path, 0, "", 0);
	pthread_mutex_unlock(&lock);
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
	LOCKED(result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0); kept = errno;
	       if (result == 0 && below_root(from)) put('R', from, 0, to, strlen(to)));
	return result;
}

int unlink(const char *path)
{
	int result;
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
