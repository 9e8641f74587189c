/*
 * runnel_sink.h - the sink plugin interface, version 1.
 *
 * A sink delivers payloads that the agent has batched, encoded and compressed. A plugin is one shared object, built
 * against this header and nothing else, that exports one function:
 *
 *     const runnel_sink *runnel_sink_descriptor(void);
 *
 * The descriptor and all that it points to are constant for as long as the object is loaded.
 *
 * Rules that hold for the whole page
 *   Versions   A plugin says RUNNEL_SINK_ABI in `abi_version`; a host with another number refuses it by name and says
 *              both numbers. Within one version fields are only appended to structs; who reads a struct of the other
 *              side looks at its size field (struct_size, option_size, record_size) before touching a later field and
 *              steps through an array by that size.
 *              runnel_str, runnel_pair and runnel_value never change within a version.
 *   Memory     Who allocates frees. What the host passes to a call is valid during that call only, except the
 *              runnel_host, which lives until destroy has returned. Strings (runnel_str) are bytes with a size, UTF-8
 *              unless a sender has sent something else in a name or a tag; `data` of an option's value is also
 *              NUL-terminated.
 *   Instances  create may be called many times: for each output that names the sink, and on a reload for the new
 *              instance of an output while the old one still lives (so what only one can hold, a port or a lock, is
 *              taken by write). Different instances are called at the same time from different threads: what they
 *              share the plugin guards. A plugin may be loaded only to be listed or checked, and stays loaded until
 *              the process ends: no static constructor starts a thread or opens anything.
 *   Threads    create, write, tick, reopen and destroy of one instance are never called at the same time; they come
 *              from the output's thread or, before the first and after the last write, from another one. interrupt
 *              comes from any thread at any time between create and destroy. The host's callbacks may be called from
 *              any thread while the instance lives. Threads that a plugin starts block all signals and are joined in
 *              destroy.
 *   Errors     No exception, no longjmp and no exit() crosses this interface. Signals stay as they are (SIGPIPE and
 *              SIGXFSZ are ignored by the host).
 *   Units      Times of data are milliseconds since 1970-01-01 UTC. Deadlines are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef RUNNEL_SINK_H
#define RUNNEL_SINK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RUNNEL_SINK_ABI 1u

/* Before the definition of runnel_sink_descriptor, so that it is seen in objects built with hidden visibility. */
#if defined(__GNUC__)
#define RUNNEL_EXPORT __attribute__((visibility("default")))
#else
#define RUNNEL_EXPORT
#endif

typedef struct runnel_str {
  const char *data; /* may be NULL where size is 0 */
  size_t size;
} runnel_str;

typedef struct runnel_pair {
  runnel_str key, value;
} runnel_pair;

/* ---- options: declared by the plugin; parsed, checked, defaulted and printed by the host ---------------------- */

typedef enum runnel_option_type {
  RUNNEL_OPTION_BOOL = 1,
  RUNNEL_OPTION_INT = 2,
  RUNNEL_OPTION_FLOAT = 3,
  RUNNEL_OPTION_STRING = 4,
  RUNNEL_OPTION_ENUM = 5,       /* one of `choices` */
  RUNNEL_OPTION_DURATION = 6,   /* "10s" in the file, milliseconds here */
  RUNNEL_OPTION_SIZE = 7,       /* "8MiB" in the file, bytes here */
  RUNNEL_OPTION_LIST = 8,       /* array of strings */
  RUNNEL_OPTION_MAP = 9,        /* table of strings (numbers and booleans as their text) */
  RUNNEL_OPTION_SECRET_FILE = 10 /* path of a file that holds a secret: see runnel_host.read_secret */
} runnel_option_type;

#define RUNNEL_OPTION_REQUIRED 1u /* the file must set it */
#define RUNNEL_OPTION_SECRET 2u   /* shown as "***" wherever the host prints values */

typedef struct runnel_option {
  const char *name;           /* [a-z0-9_]+, the key in [output.NAME]; not one of the host's own (sink, batch, …) */
  runnel_option_type type;
  uint32_t flags;
  const char *default_value;  /* spelled as a TOML value: "\"GET\"", "10", "\"5s\"", "[]"; NULL: none */
  const char *help;           /* one line, no full stop */
  const char *const *choices; /* ENUM: NULL-terminated */
  double minimum, maximum;    /* INT, FLOAT, DURATION (ms), SIZE (bytes); both 0: no limit */
} runnel_option;

/* Values come in the order of the descriptor's options. Only the member of the option's type is meaningful. */
typedef struct runnel_value {
  int is_set;                /* the file names it; otherwise this is the default, or nothing where there is none */
  int64_t integer;           /* BOOL 0/1, INT, DURATION ms, SIZE bytes, ENUM index in choices */
  double number;             /* FLOAT */
  runnel_str text;           /* STRING, ENUM, SECRET_FILE (the path) */
  const runnel_str *list;    /* LIST */
  const runnel_pair *map;    /* MAP, in key order */
  size_t count;              /* of list or map */
} runnel_value;

/* ---- what the host offers ------------------------------------------------------------------------------------- */

typedef enum runnel_log_level {
  RUNNEL_LOG_DEBUG = 0,
  RUNNEL_LOG_INFO = 1,
  RUNNEL_LOG_WARNING = 2,
  RUNNEL_LOG_ERROR = 3
} runnel_log_level;

typedef enum runnel_metric_kind { RUNNEL_METRIC_TOTAL = 1, RUNNEL_METRIC_GAUGE = 2 } runnel_metric_kind;

typedef struct runnel_host {
  uint32_t struct_size;
  void *context;             /* first argument of the callbacks */
  const char *output_name;   /* NAME of [output.NAME] */
  const char *agent_version; /* for User-Agent and client ids */
  const char *agent_id;      /* stable for this agent; part of the idempotency ids */

  /* A line in the agent's log, under the output's name. Control characters are escaped by the host. */
  void (*log)(void *context, runnel_log_level level, const char *text);

  /* Sets a metric of the agent's own. `name` starts with "runnel."; TOTAL takes the running sum, not a delta. The host
     adds the tag `output` and remembers the last value until the instance is destroyed. */
  void (*metric)(void *context, const char *name, const runnel_pair *tags, size_t tag_count, runnel_metric_kind kind,
                 double value);

  /* Reads a SECRET_FILE: writes its text without trailing line ends and a NUL to `buffer` and returns its length, or
     -1 with the file and the reason in `buffer`. Read it when it is needed and not only once: files are rotated. */
  long (*read_secret)(void *context, const char *path, char *buffer, size_t capacity);
} runnel_host;

/* ---- payloads ------------------------------------------------------------------------------------------------- */

typedef enum runnel_record_type { RUNNEL_RECORD_METRIC = 1, RUNNEL_RECORD_EVENT = 2 } runnel_record_type;

typedef enum runnel_kind {
  RUNNEL_KIND_NONE = 0, /* an event */
  RUNNEL_KIND_COUNTER = 1,
  RUNNEL_KIND_TOTAL = 2,
  RUNNEL_KIND_GAUGE = 3,
  RUNNEL_KIND_DISTRIBUTION = 4,
  RUNNEL_KIND_SET = 5
} runnel_kind;

/* One record of a payload, for sinks that say RUNNEL_SINK_WANTS_RECORDS. An encoding may make several records of one
   sample (a distribution as one message a statistic): they share `sample`, and the sample counts as delivered when all
   of them are. Records come in the order of their bytes and do not overlap; what separates them in `bytes` (the line
   end of json and influx) belongs to none. */
typedef struct runnel_record {
  size_t offset, size;         /* in runnel_payload.bytes (which are then not compressed by the host) */
  uint32_t sample;             /* 0 … runnel_payload.sample_count - 1 */
  runnel_record_type type;
  runnel_kind kind;
  int64_t time_ms;
  runnel_str series;           /* `name,k=v,…`, tags sorted by key: identifies the series on its host; without host */
  runnel_str topic;            /* where the host has routed it; size 0: the sink decides */
  runnel_str name, host;
  const runnel_pair *tags;     /* of the series; of an event: its attributes */
  size_t tag_count;
  const runnel_pair *resource;
  size_t resource_count;
  /* Appended: there where record_size says so. */
  runnel_str series_on_host;   /* `series` with `host=…` among its tags, unless it has a tag of that name */
  uint64_t sequence;           /* of the sample among all of this agent's run (the middle of the idempotency id): a try
                                  again, whole, in part or in halves, gives a sample the same number */
} runnel_record;

typedef struct runnel_payload {
  uint32_t struct_size;
  uint32_t record_size;        /* sizeof(runnel_record) of the host: the step through `records` */
  runnel_str bytes;
  runnel_str content_type;     /* "application/x-ndjson" */
  runnel_str content_encoding; /* "gzip", "zstd", or size 0 */
  runnel_str encoding;         /* the encoder's name: "json", "influx", … */
  runnel_str id;               /* idempotency id, [!-~]+: a try again carries the same data under the same id; what was
                                  split has ids of its own */
  uint32_t sample_count;       /* samples and events inside */
  uint32_t attempt;            /* 1 for the first try */
  const runnel_record *records; /* NULL unless the sink wants records */
  size_t record_count;
} runnel_payload;

/* ---- answers -------------------------------------------------------------------------------------------------- */

typedef enum runnel_outcome {
  RUNNEL_DELIVERED = 1,
  RUNNEL_RETRY = 2,  /* may work later: tried again after retry_after_ms, or by the host's back-off where that is 0 */
  RUNNEL_HOLD = 3,   /* an operator must act (wrong password, no such topic): tried again every 60 s and on reload */
  RUNNEL_SPLIT = 4,  /* too large: the host sends it again in halves; a single sample counts as rejected */
  RUNNEL_REJECT = 5  /* this data will never be accepted: the host looks for the culprit in halves */
} runnel_outcome;

typedef struct runnel_answer {
  uint32_t struct_size;
  uint32_t retry_after_ms;   /* with RUNNEL_RETRY; the host caps it at 5 minutes */
  char message[512];         /* for the log, NUL-terminated: what the other side said */
  /* For sinks that say RUNNEL_SINK_ANSWERS_RECORDS, else NULL: one runnel_outcome for each sample of the payload
     (sample_count bytes), which the host has set to 0 (= the outcome that write returns). Each sample is then treated
     by its own outcome: the host sends again exactly those that were not delivered. */
  uint8_t *samples;
} runnel_answer;

/* ---- the descriptor ------------------------------------------------------------------------------------------- */

#define RUNNEL_SINK_WANTS_RECORDS 1u       /* fills runnel_payload.records; excludes compression by the host */
#define RUNNEL_SINK_COMPRESSES_ITSELF 2u   /* the key `compression` is the sink's own option, if it declares one */
#define RUNNEL_SINK_ANSWERS_RECORDS 4u     /* fills runnel_answer.samples */

typedef struct runnel_sink {
  uint32_t abi_version;  /* RUNNEL_SINK_ABI; first for ever */
  uint32_t struct_size;  /* sizeof(runnel_sink) */
  uint32_t option_size;  /* sizeof(runnel_option) */
  uint32_t capabilities;
  const char *name;      /* [a-z0-9_-]+ */
  const char *help;      /* one line */
  const runnel_option *options;
  size_t option_count;
  const char *default_encoding;    /* NULL: "json" */
  const char *default_compression; /* NULL: "none" */

  /* May be NULL. Checks values beyond their types, without connecting anywhere: calls `error` once for each one that
     is wrong, with the index of the option and, for an entry of a MAP or LIST, its key or text (else NULL). */
  void (*check)(const runnel_value *values,
                void (*error)(void *context, size_t option, const char *entry, const char *text), void *context);

  /* A new instance, or NULL with a NUL-terminated reason in `error`. Does not connect: a peer that is away is
     the business of write. `values` may be kept only as copies. */
  void *(*create)(const runnel_host *host, const runnel_value *values, char *error, size_t capacity);

  /* Delivers a payload; may block until `deadline_ns`. Answers with an outcome and details in `answer`, which the host
     has zeroed but for struct_size and samples. A payload counts as delivered only when the other side has said so.
     After any other outcome nothing of it is sent later: a sink that queues takes back what it could not deliver. */
  runnel_outcome (*write)(void *sink, const runnel_payload *payload, uint64_t deadline_ns, runnel_answer *answer);

  /* Makes a blocked write return soon (with RETRY), and one that comes after it as well until the next reopen. Must
     only raise a flag and wake the writer: it returns at once and calls nothing of the host's. */
  void (*interrupt)(void *sink);

  /* SIGHUP: open files anew, read certificates again. Also clears an interrupt. May be NULL. */
  void (*reopen)(void *sink);

  void (*destroy)(void *sink);

  /* May be NULL. Called about once a second while there is nothing to write, for what must go on without data (serve a
     library's events, sync or rotate a file). Returns at once; its failures show in the answer of the next write. */
  void (*tick)(void *sink);

  /* The encodings that this sink can carry, NULL-terminated; NULL: all. Another one is a configuration error. */
  const char *const *encodings;
} runnel_sink;

/* The one symbol of a plugin. */
RUNNEL_EXPORT const runnel_sink *runnel_sink_descriptor(void);
typedef const runnel_sink *(*runnel_sink_descriptor_fn)(void);

#ifdef __cplusplus
}
#endif

#endif
