/* rusage FILE CMD [ARG...]: runs CMD and writes to FILE one line
 *
 *     WALL_US USER_US SYSTEM_US MAXRSS_KIB STATUS
 *
 * A program of its own and in C, because Linux counts the parent's memory as the
 * child's until its exec (setmax_mm_hiwater_rss in exec_mmap, fs/exec.c): below
 * Python, every client would seem to need Python's memory. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static long long us(struct timeval t)
{
	return t.tv_sec * 1000000LL + t.tv_usec;
}

int main(int argc, char **argv)
{
	struct rusage used;
	int status;
	if (argc < 3)
		return 2;
	long long began = now_us();
	pid_t child = fork();
	if (child == 0) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &used) < 0)
		return 2;
	long long wall = now_us() - began;
	FILE *out = fopen(argv[1], "w");
	if (!out)
		return 2;
	fprintf(out, "%lld %lld %lld %ld %d\n", wall, us(used.ru_utime), us(used.ru_stime),
		used.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return fclose(out) != 0;
}
