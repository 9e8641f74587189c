/* The yardstick of kafka_bench.py: what librdkafka itself costs for the same bytes. Reads `key TAB id TAB record TAB value`
 * lines from a file, id and record being the two headers, and produces them all, ROUNDS times, with the settings of the
 * sink, as fast as the library takes them.
 *
 *     kafka_floor BROKER TOPIC CODEC FILE ROUNDS [without-headers]        prints messages, CPU seconds of the process, wall seconds
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static long delivered, failed;

static void on_report(rd_kafka_t* rk, const rd_kafka_message_t* message, void* opaque) {
  (void)rk, (void)opaque;
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
    delivered++;
  } else {
    failed++;
  }
}

static double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double wall_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void set(rd_kafka_conf_t* conf, const char* name, const char* value) {
  char error[256];
  if (rd_kafka_conf_set(conf, name, value, error, sizeof error) == RD_KAFKA_CONF_OK) return;
  fprintf(stderr, "%s\n", error);
  exit(2);
}

int main(int argc, char** argv) {
  const int without_headers = argc == 7 && strcmp(argv[6], "without-headers") == 0;
  if (argc != 6 && !without_headers) {
    fprintf(stderr, "kafka_floor BROKER TOPIC CODEC FILE ROUNDS [without-headers]\n");
    return 64;
  }
  FILE* file = fopen(argv[4], "rb");
  if (!file) {
    perror(argv[4]);
    return 2;
  }
  struct Message {
    char *key, *id, *record, *value;
  }* lines = NULL;
  size_t count = 0, capacity = 0, room = 0;
  char* line = NULL;
  for (ssize_t size; (size = getline(&line, &room, file)) > 0;) {
    if (line[size - 1] == '\n') line[size - 1] = 0;
    if (count == capacity) {
      capacity = capacity ? capacity * 2 : 1024;
      lines = realloc(lines, capacity * sizeof *lines);
      if (!lines) return 2;
    }
    char* at = strdup(line);
    struct Message* message = &lines[count++];
    message->key = strsep(&at, "\t");
    message->id = strsep(&at, "\t");
    message->record = strsep(&at, "\t");
    message->value = at;
    if (!at) return 2;
  }
  free(line);
  fclose(file);

  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  set(conf, "bootstrap.servers", argv[1]);
  set(conf, "compression.codec", argv[3]);
  set(conf, "acks", "all");
  set(conf, "enable.idempotence", "true");
  set(conf, "partitioner", "murmur2_random");
  set(conf, "linger.ms", "5");
  set(conf, "queue.buffering.max.messages", "20000");
  set(conf, "queue.buffering.max.kbytes", "16384");
  rd_kafka_conf_set_dr_msg_cb(conf, on_report);
  char error[256];
  rd_kafka_t* producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
  if (!producer) {
    fprintf(stderr, "%s\n", error);
    return 2;
  }
  rd_kafka_topic_t* topic = rd_kafka_topic_new(producer, argv[2], NULL);
  const double cpu = cpu_seconds(), wall = wall_seconds();
  for (long round = 0; round < atol(argv[5]); round++) {
    for (size_t i = 0; i < count; i++) {
      const struct Message* m = &lines[i];
      for (;;) {
        rd_kafka_resp_err_t failure =
            without_headers
                ? rd_kafka_producev(producer, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                    RD_KAFKA_V_KEY(m->key, strlen(m->key)),
                                    RD_KAFKA_V_VALUE(m->value, strlen(m->value)), RD_KAFKA_V_END)
                : rd_kafka_producev(
                      producer, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                      RD_KAFKA_V_KEY(m->key, strlen(m->key)), RD_KAFKA_V_VALUE(m->value, strlen(m->value)),
                      RD_KAFKA_V_HEADER("runnel-id", m->id, strlen(m->id)),
                      RD_KAFKA_V_HEADER("runnel-record", m->record, strlen(m->record)), RD_KAFKA_V_END);
        if (failure == RD_KAFKA_RESP_ERR_NO_ERROR) break;
        if (failure != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
          fprintf(stderr, "%s\n", rd_kafka_err2str(failure));
          return 2;
        }
        rd_kafka_poll(producer, 10);
      }
    }
    while (rd_kafka_outq_len(producer) > 0) rd_kafka_poll(producer, 100);
  }
  printf("%ld %.6f %.6f\n", delivered, cpu_seconds() - cpu, wall_seconds() - wall);
  rd_kafka_topic_destroy(topic);
  rd_kafka_destroy(producer);
  for (size_t i = 0; i < count; i++) free(lines[i].key);  // the beginning of its line
  free(lines);
  return failed > 0 || delivered == 0;
}
