// FFWD's own Java clients as senders: java -cp 'libs/*' Sender.java MODE PORT. Prints what it handed to them, a JSON object a
// line, so that a test can compare each value with what arrived: {"key", "value" | "distribution" (base64), "tags",
// "attributes", "resource", "host", "proc", "time"}.
//
//   udp0, udp1        the UDP client, protocol versions 0 and 1
//   reporter          semantic-metrics over the UDP client, two rounds of reports
//   http1, http2      the HTTP client, /v1/batch and /v2/batch
//   http-reporter     semantic-metrics over the HTTP client
//   http-ping         asks whether the server is alive

import com.codahale.metrics.Gauge;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.ByteString;
import com.spotify.ffwd.FastForward;
import com.spotify.ffwd.http.HttpClient;
import com.spotify.ffwd.http.HttpDiscovery;
import com.spotify.ffwd.http.HttpPing;
import com.spotify.metrics.core.MetricId;
import com.spotify.metrics.core.SemanticMetricRegistry;
import com.spotify.metrics.ffwd.FastForwardReporter;
import com.spotify.metrics.ffwdhttp.FastForwardHttpReporter;
import java.util.*;
import java.util.concurrent.TimeUnit;

public class Sender {
  static final ObjectMapper JSON = new ObjectMapper();
  static final long AT = 1700000000000L;

  static synchronized void say(Object... pairs) throws Exception {
    Map<String, Object> line = new LinkedHashMap<>();
    for (int i = 0; i < pairs.length; i += 2) if (pairs[i + 1] != null) line.put((String) pairs[i], pairs[i + 1]);
    System.out.println(JSON.writeValueAsString(line));
  }

  static String base64(ByteString bytes) { return Base64.getEncoder().encodeToString(bytes.toByteArray()); }

  // Tells what it sends.
  static class Telling extends FastForward {
    final FastForward real;
    Telling(int port) throws Exception { real = FastForward.setup("127.0.0.1", port); }

    @Override
    public void send(com.spotify.ffwd.Metric m) throws java.io.IOException {
      try {
        say("key", m.getKey(), "value", m.getValue(), "tags", m.getTags(), "attributes", m.getAttributes(), "host", m.getHost(),
            "proc", m.getProc(), "time", m.getTime());
      } catch (Exception e) { throw new java.io.IOException(e); }
      real.send(m);
    }

    @Override
    public void send(com.spotify.ffwd.v1.Metric m) throws java.io.IOException {
      try {
        Object[] value = m.getValue().match(d -> new Object[] {d, null}, b -> new Object[] {null, base64(b)}, v -> new Object[2]);
        say("key", m.getKey(), "value", value[0], "distribution", value[1], "tags", m.getTags(), "attributes", m.getAttributes(),
            "host", m.getHost(), "time", m.getTime());
      } catch (Exception e) { throw new java.io.IOException(e); }
      real.send(m);
    }
  }

  static void udp0(int port) throws Exception {
    FastForward client = new Telling(port);
    client.send(FastForward.metric("whole").proc("api").time(AT).value(1.5).host("web-1").tag("prod").attribute("what", "größe")
        .attribute("unit", "ms"));
    client.send(FastForward.metric("bare").value(-2));
    for (int i = 0; i < 200; i++) {
      client.send(FastForward.metric("many").time(AT + i).value(i * 0.1).attribute("number", "" + i));
      if (i % 20 == 0) Thread.sleep(5);
    }
  }

  static void udp1(int port) throws Exception {
    FastForward client = new Telling(port);
    client.send(FastForward.metricV1("whole").time(AT).value(com.spotify.ffwd.v1.Value.doubleValue(1.5)).host("web-1").tag("prod")
        .attribute("what", "größe").attribute("unit", "ms"));
    client.send(FastForward.metricV1("distribution").time(AT).host("web-1").attribute("what", "d")
        .value(com.spotify.ffwd.v1.Value.distributionValue(ByteString.copyFrom(new byte[] {0, 1, 2, -1}))));
    for (int i = 0; i < 200; i++) {
      client.send(FastForward.metricV1("many").time(AT + i).value(com.spotify.ffwd.v1.Value.doubleValue(i * 0.1))
          .attribute("number", "" + i));
      if (i % 20 == 0) Thread.sleep(5);
    }
  }

  // What a Java service has of each kind.
  static SemanticMetricRegistry registry() {
    SemanticMetricRegistry registry = new SemanticMetricRegistry();
    MetricId id = MetricId.build("service").tagged("component", "api");
    registry.counter(id.tagged("what", "connections")).inc(7);
    registry.meter(id.tagged("what", "requests", "unit", "request")).mark(42);
    for (int i = 1; i <= 100; i++) {
      registry.timer(id.tagged("what", "latency")).update(i, TimeUnit.MILLISECONDS);
      registry.histogram(id.tagged("what", "size", "unit", "B")).update(i * 1000);
      registry.distribution(id.tagged("what", "payload", "unit", "B")).record(i);
    }
    registry.register(id.tagged("what", "threads"), (Gauge<Integer>) () -> 12);
    registry.register(id.tagged("what", "ratio"), (Gauge<Double>) () -> 0.25);
    registry.derivingMeter(id.tagged("what", "derived")).mark(3);
    return registry;
  }

  static void reporter(int port) throws Exception {
    FastForwardReporter reporter =
        FastForwardReporter.forRegistry(registry()).prefix(MetricId.build("app").tagged("site", "lon")).fastForward(new Telling(port))
            .schedule(TimeUnit.HOURS, 1).build();
    reporter.report();
    Thread.sleep(50);
    reporter.report();
  }

  static HttpClient http(int port) {
    HttpClient plain = new HttpClient.Builder()
        .discovery(new HttpDiscovery.Static(List.of(new HttpDiscovery.HostAndPort("127.0.0.1", port)))).build();
    return new HttpClient(plain.getClientFactory(), plain.getLoadBalancer(), 1, 100, 1000) {
      @Override
      public rx.Observable<Void> sendBatch(com.spotify.ffwd.http.model.v2.Batch batch) {
        for (com.spotify.ffwd.http.model.v2.Batch.Point p : batch.getPoints()) {
          Object value = p.getValue().getValue();
          boolean bytes = value instanceof ByteString;
          tell(batch.getCommonTags(), batch.getCommonResource(), p.getKey(), p.getTags(), p.getResource(), bytes ? null : value,
              bytes ? base64((ByteString) value) : null, p.getTimestamp());
        }
        return super.sendBatch(batch);
      }

      @Override
      public rx.Observable<Void> sendBatch(com.spotify.ffwd.http.model.v1.Batch batch) {
        for (com.spotify.ffwd.http.model.v1.Batch.Point p : batch.getPoints())
          tell(batch.getCommonTags(), batch.getCommonResource(), p.getKey(), p.getTags(), p.getResource(), p.getValue(), null,
              p.getTimestamp());
        return super.sendBatch(batch);
      }
    };
  }

  static void tell(Map<String, String> commonTags, Map<String, String> commonResource, String key, Map<String, String> tags,
      Map<String, String> resource, Object value, Object distribution, long time) {
    Map<String, String> allTags = new TreeMap<>(commonTags), allResource = new TreeMap<>(commonResource);
    allTags.putAll(tags);
    allResource.putAll(resource);
    try {
      say("key", key, "value", value, "distribution", distribution, "attributes", allTags, "resource", allResource, "time", time);
    } catch (Exception e) { throw new RuntimeException(e); }
  }

  static void http1(int port) throws Exception {
    List<com.spotify.ffwd.http.model.v1.Batch.Point> points = new ArrayList<>();
    for (int i = 0; i < 1000; i++)
      points.add(com.spotify.ffwd.http.model.v1.Batch.Point.create("many", Optional.of(Map.of("number", "" + i, "site", "own")),
          Optional.of(Map.of("r", "own")), i * 0.1, AT + i));
    points.add(com.spotify.ffwd.http.model.v1.Batch.Point.create("bare", Optional.empty(), Optional.empty(), 2, AT));
    http(port).sendBatch(com.spotify.ffwd.http.model.v1.Batch.create(Optional.of(Map.of("site", "lon", "host", "web-1")),
        Optional.of(Map.of("r", "common", "zone", "a")), points)).toCompletable().await();
  }

  static void http2(int port) throws Exception {
    List<com.spotify.ffwd.http.model.v2.Batch.Point> points = new ArrayList<>();
    for (int i = 0; i < 1000; i++)
      points.add(com.spotify.ffwd.http.model.v2.Batch.Point.create("many", Optional.of(Map.of("number", "" + i)), Optional.empty(),
          com.spotify.ffwd.http.model.v2.Value.DoubleValue.create(i * 0.1), AT + i));
    points.add(com.spotify.ffwd.http.model.v2.Batch.Point.create("distribution", Optional.empty(), Optional.empty(),
        com.spotify.ffwd.http.model.v2.Value.DistributionValue.create(ByteString.copyFrom(new byte[] {0, 1, 2, -1})), AT));
    HttpClient client = http(port);
    for (int i = 0; i < 2; i++) // the second over the connection of the first
      client.sendBatch(com.spotify.ffwd.http.model.v2.Batch.create(Optional.of(Map.of("round", "" + i)), Optional.empty(), points))
          .toCompletable().await();
  }

  static void httpReporter(int port) throws Exception {
    FastForwardHttpReporter reporter = FastForwardHttpReporter.forRegistry(registry(), http(port))
        .prefix(MetricId.build("app").tagged("site", "lon")).schedule(300, TimeUnit.MILLISECONDS).build();
    reporter.start();
    Thread.sleep(1000);
    reporter.stop();
    Thread.sleep(1000);
  }

  public static void main(String[] arguments) throws Exception {
    int port = Integer.parseInt(arguments[1]);
    switch (arguments[0]) {
      case "udp0": udp0(port); break;
      case "udp1": udp1(port); break;
      case "reporter": reporter(port); break;
      case "http1": http1(port); break;
      case "http2": http2(port); break;
      case "http-reporter": httpReporter(port); break;
      case "http-ping":
        System.out.println(new HttpPing(http(port).getClientFactory()).isAlive(new com.netflix.loadbalancer.Server("127.0.0.1", port)));
        break;
      default: throw new IllegalArgumentException(arguments[0]);
    }
    System.out.flush();
    System.exit(0);
  }
}
