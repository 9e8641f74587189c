/*
 * unixgram: sends each record as one datagram to a unix socket of this host. A complete sink outside the agent's
 * tree: C, the installed header runnel_sink.h, the C library, nothing else. Take it as a start for your own.
 *
 * It shows: options of several types with a check of its own, one answer for each sample
 * (RUNNEL_SINK_ANSWERS_RECORDS), a write that can block and is ended by `interrupt`, a metric through the host.
 *
 *     [output.local]
 *     sink   = "/usr/local/lib/runnel/unixgram.so"
 *     socket = "/run/consumer.sock"
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <runnel_sink.h>

/* ---- options -------------------------------------------------------------------------------------------------- */

/* The values come in this order. */
enum { OPT_SOCKET, OPT_RECORDS, OPT_MAX_SIZE, OPT_SEND_TIMEOUT, OPT_SKIP_NAMES, OPT_LINE_END, OPT_COUNT };

static const char* const record_choices[] = {"all", "metrics", "events", NULL};
enum { RECORDS_ALL, RECORDS_METRICS, RECORDS_EVENTS };

static const runnel_option options[OPT_COUNT] = {
    {"socket", RUNNEL_OPTION_STRING, RUNNEL_OPTION_REQUIRED, NULL, "Path of the socket to send to", NULL, 0,
     0},
    {"records", RUNNEL_OPTION_ENUM, 0, "\"all\"", "What to send; the rest counts as delivered",
     record_choices, 0, 0},
    {"max_size", RUNNEL_OPTION_SIZE, 0, "\"64KiB\"", "Larger records are rejected", NULL, 64, 1 << 20},
    {"send_timeout", RUNNEL_OPTION_DURATION, 0, "\"1s\"", "How long a full socket is waited for", NULL, 1,
     60000},
    {"skip_names", RUNNEL_OPTION_LIST, 0, "[]", "Names that are not sent", NULL, 0, 0},
    {"line_end", RUNNEL_OPTION_BOOL, 0, "false", "Whether a datagram ends with a line feed", NULL, 0, 0},
};

/* What the types cannot say. Runs for `runnel check` too: it must not touch the world. */
static void check(const runnel_value* values,
                  void (*error)(void* context, size_t option, const char* entry, const char* text),
                  void* context) {
  const runnel_str path = values[OPT_SOCKET].text;
  struct sockaddr_un address;
  if (path.size == 0 || path.data[0] != '/') error(context, OPT_SOCKET, NULL, "must be an absolute path");
  if (path.size >= sizeof address.sun_path)
    error(context, OPT_SOCKET, NULL, "is too long for a socket (107 bytes)");
  for (size_t i = 0; i < values[OPT_SKIP_NAMES].count; i++)
    if (values[OPT_SKIP_NAMES].list[i].size == 0) error(context, OPT_SKIP_NAMES, "", "must not be empty");
}

/* ---- an instance ---------------------------------------------------------------------------------------------- */

typedef struct unixgram {
  const runnel_host* host; /* lives as long as the instance: may be kept */
  struct sockaddr_un address;
  int records;
  size_t max_size;
  int send_timeout_ms;
  int line_end;
  char** skip_names; /* values live during create only: copies */
  size_t skip_count;
  int fd;
  int wake; /* eventfd: what interrupt raises and poll waits for */
  atomic_int interrupted;
  double sent;
} unixgram;

static void destroy(void* sink) {
  unixgram* self = sink;
  for (size_t i = 0; i < self->skip_count; i++) free(self->skip_names[i]);
  free(self->skip_names);
  if (self->fd >= 0) close(self->fd);
  if (self->wake >= 0) close(self->wake);
  free(self);
}

static void* create(const runnel_host* host, const runnel_value* values, char* error, size_t capacity) {
  unixgram* self = calloc(1, sizeof *self);
  if (!self) {
    snprintf(error, capacity, "out of memory");
    return NULL;
  }
  self->host = host;
  self->address.sun_family = AF_UNIX;
  memcpy(self->address.sun_path, values[OPT_SOCKET].text.data, values[OPT_SOCKET].text.size);
  self->records = (int)values[OPT_RECORDS].integer;
  self->max_size = (size_t)values[OPT_MAX_SIZE].integer;
  self->send_timeout_ms = (int)values[OPT_SEND_TIMEOUT].integer;
  self->line_end = (int)values[OPT_LINE_END].integer;
  self->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (self->fd < 0 || self->wake < 0) {
    snprintf(error, capacity, "socket: %s", strerror(errno));
    destroy(self);
    return NULL;
  }
  const size_t count = values[OPT_SKIP_NAMES].count;
  self->skip_names = calloc(count ? count : 1, sizeof *self->skip_names);
  for (size_t i = 0; self->skip_names && i < count; i++) {
    self->skip_names[i] = strdup(values[OPT_SKIP_NAMES].list[i].data);
    if (!self->skip_names[i]) break;
    self->skip_count++;
  }
  if (self->skip_count < count || !self->skip_names) {
    snprintf(error, capacity, "out of memory");
    destroy(self);
    return NULL;
  }
  /* Not connected here: the other side may come later, and a sink without it must still start. */
  return self;
}

/* From any thread, also while write runs. */
static void interrupt(void* sink) {
  unixgram* self = sink;
  const uint64_t one = 1;
  atomic_store(&self->interrupted, 1);
  if (write(self->wake, &one, sizeof one) < 0) return; /* it is raised already */
}

static void reopen(void* sink) {
  unixgram* self = sink;
  uint64_t count;
  atomic_store(&self->interrupted, 0);
  if (read(self->wake, &count, sizeof count) < 0) return; /* it was not raised */
}

static int wanted(const unixgram* self, const runnel_record* record) {
  if (self->records == RECORDS_METRICS && record->type != RUNNEL_RECORD_METRIC) return 0;
  if (self->records == RECORDS_EVENTS && record->type != RUNNEL_RECORD_EVENT) return 0;
  for (size_t i = 0; i < self->skip_count; i++)
    if (strlen(self->skip_names[i]) == record->name.size &&
        memcmp(self->skip_names[i], record->name.data, record->name.size) == 0)
      return 0;
  return 1;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* 0 or errno; ECANCELED: interrupted. The receiver's queue may be full: waits for it, but not for ever. */
static int send_record(unixgram* self, const char* bytes, size_t size, uint64_t deadline_ns) {
  char line_end = '\n';
  struct iovec parts[2] = {{(void*)bytes, size}, {&line_end, 1}};
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_name = &self->address;
  message.msg_namelen = sizeof self->address;
  message.msg_iov = parts;
  message.msg_iovlen = self->line_end ? 2 : 1;
  for (;;) {
    if (atomic_load(&self->interrupted)) return ECANCELED;
    if (sendmsg(self->fd, &message, MSG_NOSIGNAL) >= 0) return 0;
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != ENOBUFS) return errno;
    if (now_ns() >= deadline_ns) return EAGAIN;
    /* An unconnected datagram socket polls writable however full the receiver is: look again every 10 ms, or when
       interrupted. */
    struct pollfd waiting = {self->wake, POLLIN, 0};
    poll(&waiting, 1, 10);
  }
}

static runnel_outcome write_payload(void* sink, const runnel_payload* payload, uint64_t deadline_ns,
                                    runnel_answer* answer) {
  unixgram* self = sink;
  const uint64_t own_deadline = now_ns() + (uint64_t)self->send_timeout_ms * 1000000u;
  if (own_deadline < deadline_ns) deadline_ns = own_deadline;

  for (size_t i = 0; i < payload->record_count; i++) {
    /* The step is the host's size of a record: a later host may have appended fields. */
    const runnel_record* record =
        (const runnel_record*)((const char*)payload->records + i * payload->record_size);
    if (!wanted(self, record)) continue;
    const char* bytes = payload->bytes.data + record->offset;
    const int error =
        record->size > self->max_size ? EMSGSIZE : send_record(self, bytes, record->size, deadline_ns);
    if (error == 0) {
      self->sent++;
      continue;
    }
    if (error == EMSGSIZE) {
      /* Only this sample: the host goes on with the others and counts this one as rejected. */
      answer->samples[record->sample] = RUNNEL_REJECT;
      snprintf(answer->message, sizeof answer->message, "a record of %zu bytes is too large", record->size);
      continue;
    }
    /* Nobody there, or too slow. This sample and those after it are tried again; those before it are out. The records
       of one sample stand together, so none that is out is sent twice but the first ones of this very sample. */
    for (uint32_t sample = record->sample; sample < payload->sample_count; sample++)
      if (answer->samples[sample] == 0) answer->samples[sample] = RUNNEL_RETRY;
    snprintf(answer->message, sizeof answer->message, "%s: %s", self->address.sun_path,
             error == ECANCELED ? "interrupted" : strerror(error));
    break;
  }
  self->host->metric(self->host->context, "runnel.unixgram.datagrams", NULL, 0, RUNNEL_METRIC_TOTAL,
                     self->sent);
  return RUNNEL_DELIVERED; /* for every sample that has no answer of its own */
}

/* ---- the descriptor ------------------------------------------------------------------------------------------- */

static const runnel_sink descriptor = {
    .abi_version = RUNNEL_SINK_ABI,
    .struct_size = sizeof(runnel_sink),
    .option_size = sizeof(runnel_option),
    .capabilities = RUNNEL_SINK_WANTS_RECORDS | RUNNEL_SINK_ANSWERS_RECORDS,
    .name = "unixgram",
    .help = "Sends each record as a datagram to a unix socket",
    .options = options,
    .option_count = OPT_COUNT,
    .default_encoding = "json",
    .check = check,
    .create = create,
    .write = write_payload,
    .interrupt = interrupt,
    .reopen = reopen,
    .destroy = destroy,
};

RUNNEL_EXPORT const runnel_sink* runnel_sink_descriptor(void) {
  return &descriptor;
}
