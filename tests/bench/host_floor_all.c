/*
 * host_floor_all.c - the least that a host collector can spend. Public domain (CC0).
 *
 * Keeps /proc files open, and once an interval preads each from its start and adds up every integer in it: nine core
 * files, with -a also what all ten of runnel's collectors need (the files of tcp, the table of mounts, statvfs of each
 * mount that has blocks). One pread a file, no names, no samples, nothing validated. Paced, because caches are cold at
 * 1 Hz and a tight loop understates the cost several times.
 *
 *   host_floor_all [-a] [-i SECONDS] [-n COLLECTIONS]
 *
 * prints the CPU time of a collection as JSON: median, least and most, in microseconds.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static const char *const kFiles[] = {
    "/proc/stat",       "/proc/meminfo",      "/proc/net/dev",       "/proc/diskstats",    "/proc/vmstat",
    "/proc/loadavg",    "/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io",
    "/proc/net/snmp",   "/proc/net/netstat",  "/proc/net/sockstat",  "/proc/net/sockstat6", "/proc/1/mountinfo"};
enum { kCore = 9, kAll = sizeof kFiles / sizeof *kFiles, kMaxMounts = 256 };

static char buffer[1 << 16];
static volatile unsigned long sink;
static char *mounts[kMaxMounts];
static int mount_count;

static double cpu_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static unsigned long add_integers(const char *p, const char *end) {
  unsigned long total = 0, value = 0;
  for (; p < end; p++) {
    unsigned digit = (unsigned)(unsigned char)*p - '0';
    if (digit < 10) {
      value = value * 10 + digit;
    } else {
      total += value;
      value = 0;
    }
  }
  return total + value;
}

/* Mount points of devices (sources that begin with a slash), asked once a device as the collector does. */
static void find_mounts(void) {
  char seen[kMaxMounts][32], id[32], at[512], line[8192];
  FILE *f = fopen("/proc/1/mountinfo", "re");
  if (f == NULL) return;
  while (fgets(line, sizeof line, f) != NULL && mount_count < kMaxMounts) {
    const char *rest = strstr(line, " - ");
    if (rest == NULL || sscanf(line, "%*d %*d %31s %*s %511s", id, at) != 2) continue;
    if (sscanf(rest, " - %*s %8191s", line) != 1 || line[0] != '/') continue;
    int known = 0;
    for (int i = 0; i < mount_count; i++) known |= strcmp(seen[i], id) == 0;
    if (known) continue;
    strcpy(seen[mount_count], id);
    mounts[mount_count++] = strdup(at);
  }
  fclose(f);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  double interval = 1;
  int rounds = 20, files = kCore, c, fd[kAll];
  while ((c = getopt(argc, argv, "ai:n:")) != -1) {
    if (c == 'a')
      files = kAll;
    else if (c == 'i')
      interval = atof(optarg);
    else if (c == 'n')
      rounds = atoi(optarg);
    else
      return fprintf(stderr, "host_floor_all [-a] [-i SECONDS] [-n COLLECTIONS]\n"), 2;
  }
  if (rounds < 1 || interval < 0) return 2;
  for (int i = 0; i < files; i++)
    if ((fd[i] = open(kFiles[i], O_RDONLY | O_CLOEXEC)) < 0) perror(kFiles[i]);
  if (files == kAll) find_mounts();
  double *us = calloc((size_t)rounds, sizeof *us);
  if (us == NULL) return 1;
  for (int k = 0; k < rounds; k++) {
    struct timespec t = {(time_t)interval, (long)((interval - (double)(time_t)interval) * 1e9)};
    nanosleep(&t, NULL);
    double start = cpu_us();
    for (int i = 0; i < files; i++) {
      ssize_t n = fd[i] < 0 ? 0 : pread(fd[i], buffer, sizeof buffer, 0);
      if (n > 0) sink += add_integers(buffer, buffer + n);
    }
    for (int i = 0; i < mount_count; i++) {
      struct statvfs st;
      if (statvfs(mounts[i], &st) == 0) sink += st.f_blocks + st.f_bfree + st.f_bavail + st.f_files + st.f_ffree;
    }
    us[k] = cpu_us() - start;
  }
  qsort(us, (size_t)rounds, sizeof *us, by_value);
  printf("{\"collections\":%d,\"median_us\":%.1f,\"min_us\":%.1f,\"max_us\":%.1f}\n", rounds, us[rounds / 2], us[0],
         us[rounds - 1]);
  return 0;
}
