// FFWD's own Java clients as senders: java -cp 'libs/*' Sender.java MODE PORT. Prints what it handed to them, a JSON object a
// line, so that a test can compare each value with what arrived: {"key", "value" | "distribution" (base64), "count" (of its values,
// where the t-digest library reads it), "tags", "attributes", "resource", "host", "proc", "time"}.
//
//   udp0, udp1        the UDP client, protocol versions 0 and 1
//   reporter          semantic-metrics over the UDP client, two rounds of reports
//   http1, http2      the HTTP client, /v1/batch and /v2/batch
//   http-reporter     semantic-metrics over the HTTP client
//   http-ping         asks whether the server is alive
//   digests           t-digests of all kinds over the UDP client; says what is true of the values in them
//   write-digests     the same into a folder (instead of PORT), a file each: tests/fuzz/corpus/ffwd_digest

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
import com.tdunning.math.stats.MergingDigest;
import com.tdunning.math.stats.TDigest;
import java.nio.ByteBuffer;
import java.nio.file.*;
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

  static Long count(ByteString bytes) {
    try {
      return MergingDigest.fromBytes(bytes.asReadOnlyByteBuffer()).size();
    } catch (RuntimeException e) { return null; }
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
        Object[] value = m.getValue().match(d -> new Object[] {d, null, null}, b -> new Object[] {null, base64(b), count(b)}, v -> new Object[3]);
        say("key", m.getKey(), "value", value[0], "distribution", value[1], "count", value[2], "tags", m.getTags(), "attributes", m.getAttributes(),
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

  static double[] values(String what) {
    Random random = new Random(42);
    int n = what.equals("none") ? 0 : what.equals("one") ? 1 : what.equals("few") ? 10 : what.equals("same") ? 5000 : 100_000;
    double[] all = new double[n];
    for (int i = 0; i < n; i++)
      switch (what) {
        case "same": all[i] = 0.1; break;
        case "uniform": all[i] = random.nextDouble(); break;
        case "normal": all[i] = random.nextGaussian() * 10 - 5; break;
        case "exponential": all[i] = -Math.log(1 - random.nextDouble()) * 250; break;
        case "wide": all[i] = Math.exp(random.nextGaussian() * 8); break;
        case "rising": all[i] = i; break;
        case "halves": all[i] = random.nextInt(2) == 0 ? 1 : 1000; break;
        default: all[i] = random.nextInt(1000) - 300.1; // one, few
      }
    return all;
  }

  static byte[] digest(boolean tree, boolean small, int compression, double[] values) {
    TDigest digest = tree ? TDigest.createAvlTreeDigest(compression) : TDigest.createMergingDigest(compression);
    for (double value : values) digest.add(value);
    ByteBuffer buffer = ByteBuffer.allocate(small ? digest.smallByteSize() : digest.byteSize());
    if (small) digest.asSmallBytes(buffer); else digest.asBytes(buffer);
    return Arrays.copyOf(buffer.array(), buffer.position()); // a tree says more than it needs
  }

  // What is true of percentile p: the value at rank ceil(p/100·n), and those a centroid's share of all ranks away on both sides.
  static Map<String, double[]> truth(double[] sorted, int compression) {
    Map<String, double[]> all = new LinkedHashMap<>();
    for (int p : new int[] {1, 50, 90, 95, 99}) {
      double q = p / 100.0;
      int n = sorted.length, rank = (int) Math.max(1, Math.ceil(q * n));
      int off = n <= 10 ? 0 : (int) Math.ceil(n * Math.PI * Math.sqrt(q * (1 - q)) / compression) + 1;
      all.put("p" + p, new double[] {sorted[Math.max(1, rank - off) - 1], sorted[rank - 1], sorted[Math.min(n, rank + off) - 1]});
    }
    return all;
  }

  static void digests(Path folder, int port) throws Exception {
    FastForward client = folder == null ? FastForward.setup("127.0.0.1", port) : null;
    for (String what : new String[] {"none", "one", "few", "same", "uniform", "normal", "exponential", "wide", "rising", "halves"})
      for (boolean tree : new boolean[] {false, true})
        for (boolean small : new boolean[] {false, true})
          for (int compression : new int[] {20, 100, 300}) {
            String key = (tree ? "tree_" : "merging_") + (small ? "small_" : "verbose_") + what + "_" + compression;
            double[] values = values(what);
            byte[] bytes = digest(tree, small, compression, values);
            if (folder != null) {
              if (compression == 20 && !what.matches("same|uniform|exponential|rising|halves")) Files.write(folder.resolve(key), bytes);
              continue;
            }
            Arrays.sort(values);
            int n = values.length;
            double mean = n == 0 ? 0 : Arrays.stream(values).sum() / n;
            say("key", key, "count", n, "sum", Arrays.stream(values).sum(), "small", small, "bytes", bytes.length, "min", n == 0 ? null : values[0],
                "max", n == 0 ? null : values[n - 1], "percentiles", n == 0 ? null : truth(values, compression),
                "stddev", n == 0 ? null : Math.sqrt(Arrays.stream(values).map(v -> Math.pow(v - mean, 2)).sum() / n));
            client.send(FastForward.metricV1(key).time(AT).host("web-1").attribute("what", what)
                .value(com.spotify.ffwd.v1.Value.distributionValue(ByteString.copyFrom(bytes))));
            Thread.sleep(2);
          }
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
              bytes ? (ByteString) value : null, p.getTimestamp());
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
      Map<String, String> resource, Object value, ByteString distribution, long time) {
    Map<String, String> allTags = new TreeMap<>(commonTags), allResource = new TreeMap<>(commonResource);
    allTags.putAll(tags);
    allResource.putAll(resource);
    try {
      say("key", key, "value", value, "distribution", distribution == null ? null : base64(distribution), "count",
          distribution == null ? null : count(distribution), "attributes", allTags, "resource", allResource, "time", time);
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
    if (arguments[0].equals("write-digests")) digests(Files.createDirectories(Path.of(arguments[1])), 0);
    int port = arguments[0].equals("write-digests") ? 0 : Integer.parseInt(arguments[1]);
    switch (arguments[0]) {
      case "udp0": udp0(port); break;
      case "udp1": udp1(port); break;
      case "digests": digests(null, port); break;
      case "write-digests": break;
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
