/* Moves the wall clock of a process by as many seconds as a file says, which may change at any time.
 *
 * CLOCK_OFFSET is the file; without one, or in a file without a number, the clock is right.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *time)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, time);
    const char *path = id == CLOCK_REALTIME ? getenv("CLOCK_OFFSET") : NULL;
    FILE *file = path ? fopen(path, "r") : NULL;
    long long seconds = 0;
    if (file) {
        if (fscanf(file, "%lld", &seconds) != 1)
            seconds = 0;
        fclose(file);
    }
    time->tv_sec += seconds;
    return result;
}
