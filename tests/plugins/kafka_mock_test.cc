// The Kafka sink against librdkafka's mock cluster: errors that a real broker cannot be made to give.
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <algorithm>
#include <thread>

#include "plugins/sink_host.h"
#include "support/catch.h"

using namespace runnel_test;
using namespace std::chrono_literals;

namespace {

constexpr int16_t kProduce = 0, kInitProducerId = 22;  // kafka.apache.org/protocol, API keys

// One broker that makes topics with four partitions when it is asked for them.
class Mock {
 public:
  Mock() {
    char error[256];
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    handle_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
    cluster_ = rd_kafka_mock_cluster_new(handle_, 1);
  }
  ~Mock() {
    rd_kafka_mock_cluster_destroy(cluster_);
    rd_kafka_destroy(handle_);
  }
  Mock(const Mock&) = delete;
  Mock& operator=(const Mock&) = delete;
  std::string broker() const { return rd_kafka_mock_cluster_bootstraps(cluster_); }
  void fail(int16_t request, rd_kafka_resp_err_t error, size_t times = 1) {
    const std::vector<rd_kafka_resp_err_t> errors(times, error);
    rd_kafka_mock_push_request_errors_array(cluster_, request, times, errors.data());
  }
  void fail(int16_t request, const std::vector<rd_kafka_resp_err_t>& errors) {
    rd_kafka_mock_push_request_errors_array(cluster_, request, errors.size(), errors.data());
  }
  void fail_no_more(int16_t request) { rd_kafka_mock_clear_request_errors(cluster_, request); }
  void fail_topic(const char* topic, rd_kafka_resp_err_t error) {
    rd_kafka_mock_topic_set_error(cluster_, topic, error);
  }
  void make_topic(const char* topic, int partitions) {
    rd_kafka_mock_topic_create(cluster_, topic, partitions, 1);
  }
  void down() { rd_kafka_mock_broker_set_down(cluster_, 1); }
  void up() { rd_kafka_mock_broker_set_up(cluster_, 1); }

 private:
  rd_kafka_t* handle_;
  rd_kafka_mock_cluster_t* cluster_;
};

Options options_for(const Mock& mock) {
  return {{"brokers", Strings{mock.broker()}}, {"topic", std::string("metrics")}};
}

// What one write hands over for a partition leaves in one request, however slow the machine is.
Options patient_options_for(const Mock& mock) {
  Options options = options_for(mock);
  options["linger"] = int64_t{500};
  return options;
}

const runnel_sink* kafka_sink() {
  return load_sink(RUNNEL_KAFKA_SINK);
}

Payload payload(uint32_t count, const std::string& site = "lon") {
  Payload all{.samples = count};
  for (uint32_t i = 0; i < count; ++i)
    all.records.push_back({"{\"value\":" + std::to_string(i) + "}",
                           i,
                           RUNNEL_RECORD_METRIC,
                           "s" + std::to_string(i),
                           {{"site", site}}});
  return all;
}

}  // namespace

TEST_CASE("kafka: delivered, and what the library mends by itself") {
  Mock mock;
  SinkHost host(kafka_sink(), options_for(mock));
  REQUIRE(host.create());
  CHECK(host.write(payload(100)).outcome == RUNNEL_DELIVERED);
  mock.fail(kProduce, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 2);
  mock.fail(kProduce, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 2);
  CHECK(host.write(payload(100)).outcome == RUNNEL_DELIVERED);
  CHECK(host.metrics()["runnel.kafka.producers"] == 1);
}

TEST_CASE("kafka: errors of a whole payload") {
  struct Row {
    rd_kafka_resp_err_t error;
    runnel_outcome outcome;
    const char* message;
  };
  const Row rows[] = {
      {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RUNNEL_SPLIT, "topic metrics: Broker: Message size too large"},
      {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RUNNEL_HOLD,
       "topic metrics: Broker: Topic authorization failed"},
      {RD_KAFKA_RESP_ERR_INVALID_RECORD, RUNNEL_REJECT, "topic metrics: "},
      {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, RUNNEL_HOLD, "topic metrics: Broker: Policy violation"},
  };
  for (const Row& row : rows) {
    INFO(row.message);
    Mock mock;
    mock.make_topic("metrics", 1);  // so that all is one request
    SinkHost host(kafka_sink(), patient_options_for(mock));
    REQUIRE(host.create());
    REQUIRE(host.write(payload(1)).outcome == RUNNEL_DELIVERED);
    mock.fail(kProduce, row.error);
    const Answer answer = host.write(payload(30));
    CHECK(answer.outcome == row.outcome);
    CHECK(contains(answer.message, row.message));
    CHECK(host.write(payload(30)).outcome == RUNNEL_DELIVERED);
  }
}

TEST_CASE("kafka: exactly the records of the failed partition") {
  Mock mock;
  SinkHost host(kafka_sink(), patient_options_for(mock));
  REQUIRE(host.create());
  REQUIRE(host.write(payload(1)).outcome == RUNNEL_DELIVERED);
  mock.fail(kProduce, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 1);
  const Answer answer = host.write(payload(300));
  size_t delivered = 0, split = 0;
  for (const uint8_t sample : answer.samples) {
    delivered += sample == RUNNEL_DELIVERED;
    split += sample == RUNNEL_SPLIT;
  }
  CHECK(delivered + split == 300);
  CHECK(split > 50);
  CHECK(delivered > 100);
  CHECK(contains(answer.message, std::to_string(split) + " of 300 records: topic metrics: "));
}

TEST_CASE("kafka: one bad record does not take those it travels with along") {
  Mock mock;
  SinkHost host(kafka_sink(), options_for(mock));
  REQUIRE(host.create());
  REQUIRE(host.write(payload(1)).outcome == RUNNEL_DELIVERED);
  mock.fail(kProduce, RD_KAFKA_RESP_ERR_INVALID_RECORD, 1);  // and only once: the halves are good
  const Answer answer = host.write(payload(300));
  CHECK(answer.outcome == RUNNEL_DELIVERED);
}

TEST_CASE("kafka: a search for a bad record that is cut short gives up nobody") {
  Mock mock;
  SinkHost host(kafka_sink(), patient_options_for(mock));
  REQUIRE(host.create());
  REQUIRE(host.write(payload(1)).outcome == RUNNEL_DELIVERED);
  // One of the four partitions refuses, and then nobody answers well any more.
  std::vector<rd_kafka_resp_err_t> errors(1000, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS);
  errors[0] = RD_KAFKA_RESP_ERR_INVALID_RECORD;
  errors[1] = errors[2] = errors[3] = RD_KAFKA_RESP_ERR_NO_ERROR;
  mock.fail(kProduce, errors);
  const Answer answer = host.write(payload(300), 4s);
  INFO(answer.message);
  CHECK(answer.outcome == RUNNEL_RETRY);
  REQUIRE(answer.samples.size() == 300);
  const auto count = [&](runnel_outcome outcome) {
    return std::count(answer.samples.begin(), answer.samples.end(), static_cast<uint8_t>(outcome));
  };
  CHECK(count(RUNNEL_DELIVERED) > 100);
  CHECK(count(RUNNEL_RETRY) > 20);
  CHECK(count(RUNNEL_REJECT) == 0);
  // What was in flight was taken back, which leaves a gap: a new producer.
  mock.fail_no_more(kProduce);
  CHECK(host.write(payload(300)).outcome == RUNNEL_DELIVERED);
  CHECK(host.metrics()["runnel.kafka.producers"] == 2);
}

TEST_CASE(
    "kafka: a topic of tags that is refused goes to topic_default, without one only its records are given "
    "up") {
  Mock mock;
  mock.fail_topic("m-bad", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
  Options options = options_for(mock);
  options["topic"] = std::string("m-%{tag.site}");
  Payload mixed = payload(20, "good");
  for (uint32_t i = 0; i < 5; ++i) mixed.records[i].tags["site"] = "bad";
  {
    SinkHost host(kafka_sink(), options);
    REQUIRE(host.create());
    const Answer answer = host.write(mixed);
    for (size_t i = 0; i < 20; ++i) CHECK(answer.samples[i] == (i < 5 ? RUNNEL_REJECT : RUNNEL_DELIVERED));
    CHECK(contains(answer.message, "5 of 20 records: no topic for s0: topic m-bad: "));
    // All of it: said of each record, so that the host does not hold the rest.
    const Answer all = host.write(payload(3, "bad"));
    CHECK(all.outcome == RUNNEL_RETRY);
    CHECK(all.samples == std::vector<uint8_t>(3, RUNNEL_REJECT));
    CHECK(all.took_ms < 1000);
  }
  options["topic_default"] = std::string("m-default");
  SinkHost host(kafka_sink(), options);
  REQUIRE(host.create());
  CHECK(host.write(mixed).outcome == RUNNEL_DELIVERED);
  CHECK(host.metrics()["runnel.kafka.rerouted"] == 5);
}

TEST_CASE("kafka: whatever a broker has against a topic of tags holds up no other") {
  for (const auto error : {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR,
                           RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION}) {
    Mock mock;
    mock.fail_topic("m-bad", error);
    Options options = options_for(mock);
    options["topic"] = std::string("m-%{tag.site}");
    options["topic_default"] = std::string("m-default");
    Payload mixed = payload(20, "good");
    mixed.records[7].tags["site"] = "bad";
    SinkHost host(kafka_sink(), options);
    REQUIRE(host.create());
    const Answer answer = host.write(mixed, 4s);
    INFO(answer.message);
    CHECK(answer.outcome == RUNNEL_DELIVERED);
    CHECK(host.metrics()["runnel.kafka.rerouted"] == 1);
    CHECK(contains(host.everything_said(), "topic m-bad: "));
    // The same of a topic that the configuration names: held.
    options.erase("topic_default");
    options["topic"] = std::string("m-bad");
    SinkHost fixed(kafka_sink(), options);
    REQUIRE(fixed.create());
    CHECK(fixed.write(mixed, 4s).outcome == RUNNEL_HOLD);
  }
}

TEST_CASE("kafka: topic_limit holds against a sender that invents names") {
  Mock mock;
  Options options = options_for(mock);
  options["topic"] = std::string("m-%{tag.site}");
  options["topic_default"] = std::string("m-default");
  options["topic_limit"] = int64_t{3};
  SinkHost host(kafka_sink(), options);
  REQUIRE(host.create());
  Payload many = payload(50);
  for (uint32_t i = 0; i < 50; ++i) many.records[i].tags["site"] = "s" + std::to_string(i);
  CHECK(host.write(many).outcome == RUNNEL_DELIVERED);
  CHECK(host.metrics()["runnel.kafka.rerouted"] == 47);
}

TEST_CASE("kafka: after a fatal error the producer is built anew and goes on") {
  Mock mock;
  SinkHost host(kafka_sink(), options_for(mock));
  REQUIRE(host.create());
  mock.make_topic("metrics", 1);
  REQUIRE(host.write(payload(1)).outcome == RUNNEL_DELIVERED);
  mock.fail(kProduce, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
  const Answer answer = host.write(payload(10));
  INFO(answer.message);
  CHECK(answer.outcome == RUNNEL_RETRY);
  REQUIRE(host.logs().size() == 1);
  CHECK(contains(host.logs()[0], "the producer cannot go on and is built anew: "));
  CHECK(host.write(payload(10)).outcome == RUNNEL_DELIVERED);
  CHECK(host.metrics()["runnel.kafka.producers"] == 2);
  CHECK(host.metrics()["runnel.kafka.fatal"] == 1);
}

TEST_CASE("kafka: a user who may write nowhere is held, not tried again and again") {
  Mock mock;
  SinkHost host(kafka_sink(), options_for(mock));
  REQUIRE(host.create());
  mock.fail(kInitProducerId, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED);
  const Answer answer = host.write(payload(10));
  CHECK(answer.outcome == RUNNEL_HOLD);
  CHECK(contains(answer.message, "Broker: Cluster authorization failed"));
  INFO(host.everything_said());
  CHECK(host.logs().empty());  // the host tells it, once
  CHECK(host.write(payload(10)).outcome == RUNNEL_DELIVERED);
  CHECK(host.metrics()["runnel.kafka.producers"] == 2);
  CHECK(host.metrics()["runnel.kafka.fatal"] == 1);
}

TEST_CASE("kafka: the broker away: until the deadline, and delivered when it is back") {
  for (const char* message : {"record", "batch"}) {
    Mock mock;
    Options options = options_for(mock);
    options["message"] = std::string(message);
    SinkHost host(kafka_sink(), options);
    REQUIRE(host.create());
    REQUIRE(host.write(payload(1)).outcome == RUNNEL_DELIVERED);
    mock.down();
    const Answer answer = host.write(payload(10), 3s);
    INFO(answer.message);
    CHECK(answer.outcome == RUNNEL_RETRY);
    CHECK(answer.took_ms < 5000);
    mock.up();
    const Answer again = host.write(payload(10), 20s);
    CHECK(again.outcome == RUNNEL_DELIVERED);
    CHECK(again.took_ms < 10'000);
  }
}

TEST_CASE("kafka: a password that cannot be one is held and named, and never told") {
  Mock mock;
  TemporaryFolder folder;
  const std::string path = folder / "password";
  Options options = options_for(mock);
  options["sasl_mechanism"] = std::string("PLAIN");
  options["username"] = std::string("u");
  options["password_file"] = path;
  SinkHost host(kafka_sink(), options);
  REQUIRE(host.create());
  CHECK(host.write(payload(1)).message == path + ": no such file");
  const std::pair<std::string, std::string> rows[] = {
      {"", ": is empty"},
      {"\n", ": is empty"},
      {std::string("half\0hidden", 11), ": has control characters inside"},
      {"line-one\nhidden\n", ": has control characters inside"},
  };
  for (const auto& [text, what] : rows) {
    write_file(path, text);
    const Answer answer = host.write(payload(1));
    CHECK(answer.outcome == RUNNEL_HOLD);
    CHECK(answer.message == path + what);
  }
  CHECK_FALSE(contains(host.everything_said(), "hidden"));
}

TEST_CASE("kafka: a new producer, with secrets read again, after whatever was held") {
  Mock mock;
  mock.make_topic("metrics", 1);
  SinkHost host(kafka_sink(), patient_options_for(mock));
  REQUIRE(host.create());
  for (const auto error :
       {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_POLICY_VIOLATION}) {
    const double before = host.metrics()["runnel.kafka.producers"];
    REQUIRE(host.write(payload(1)).outcome == RUNNEL_DELIVERED);
    mock.fail(kProduce, error);
    CHECK(host.write(payload(1)).outcome == RUNNEL_HOLD);
    CHECK(host.write(payload(1)).outcome == RUNNEL_DELIVERED);
    CHECK(host.metrics()["runnel.kafka.producers"] == std::max(before, 1.0) + 1);
  }
}

TEST_CASE("kafka: interrupt ends a write soon, and those after it until reopen") {
  Mock mock;
  SinkHost host(kafka_sink(), options_for(mock));
  REQUIRE(host.create());
  REQUIRE(host.write(payload(1)).outcome == RUNNEL_DELIVERED);
  mock.down();
  std::thread other([&] {
    std::this_thread::sleep_for(300ms);
    host.interrupt();
  });
  const Answer answer = host.write(payload(10), 60s);
  other.join();
  CHECK(answer.outcome == RUNNEL_RETRY);
  CHECK(answer.took_ms < 5000);
  CHECK(host.write(payload(10), 60s).took_ms < 100);
  mock.up();
  host.reopen();
  CHECK(host.write(payload(10), 30s).outcome == RUNNEL_DELIVERED);
}
