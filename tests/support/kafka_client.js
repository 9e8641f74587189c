// kafkajs, an implementation of Kafka's protocol that shares no code with librdkafka, for tests/support/kafka.py:
//
//     node kafka_client.js OPTIONS OPERATION ARGUMENTS        (both JSON; OPTIONS go to `new Kafka`)
//
// prints its answer as JSON, a line a message where it consumes. The codecs are pure JavaScript, readers only.
'use strict';

const {Kafka, AclOperationTypes, AclPermissionTypes, AclResourceTypes, CompressionCodecs, CompressionTypes,
       ResourcePatternTypes, logLevel} = require('kafkajs');
const fzstd = require('fzstd');
const lz4 = require('lz4js');
const snappy = require('snappyjs');

const reader = (decompress) => () => ({
  compress: async () => { throw new Error('this client only reads'); },
  decompress: async (buffer) => Buffer.from(decompress(new Uint8Array(buffer))),
});
CompressionCodecs[CompressionTypes.Snappy] = reader(snappy.uncompress);
CompressionCodecs[CompressionTypes.LZ4] = reader(lz4.decompress);
CompressionCodecs[CompressionTypes.ZSTD] = reader(fzstd.decompress);

const [options, operation, argumentText] = process.argv.slice(2);
const args = JSON.parse(argumentText);
const kafka = new Kafka({
  clientId: 'test', logLevel: logLevel.NOTHING, connectionTimeout: 5000, requestTimeout: 10000, retry: {retries: 8, initialRetryTime: 100},
  ...JSON.parse(options),
});

async function withAdmin(use) {
  const admin = kafka.admin();
  await admin.connect();
  try {
    return await use(admin);
  } finally {
    await admin.disconnect();
  }
}

// Everything that is in the topic now, as {partition, offset, key, value, headers}; values are UTF-8.
async function consume({topic}) {
  const ends = await withAdmin((admin) => admin.fetchTopicOffsets(topic));
  const open = new Map(ends.filter((e) => e.high !== e.low).map((e) => [e.partition, BigInt(e.high)]));
  if (open.size === 0) return;
  const consumer = kafka.consumer({groupId: `test-${process.pid}-${Date.now()}`, sessionTimeout: 10000, maxWaitTimeInMs: 100});
  await consumer.connect();
  await consumer.subscribe({topic, fromBeginning: true});
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, (event) => event.payload.restart || reject(event.payload.error));
    consumer.run({
      autoCommit: false,
      eachBatch: async ({batch}) => {
        for (const message of batch.messages) {
          if (BigInt(message.offset) >= (open.get(batch.partition) ?? 0n)) continue;
          const headers = Object.fromEntries(Object.entries(message.headers).map(([name, value]) => [name, value.toString()]));
          console.log(JSON.stringify({
            partition: batch.partition, offset: Number(message.offset), key: message.key === null ? null : message.key.toString(),
            value: message.value.toString(), headers,
          }));
        }
        if (BigInt(batch.lastOffset()) + 1n >= (open.get(batch.partition) ?? 0n)) open.delete(batch.partition);
        if (open.size === 0) resolve();
      },
    }).catch(reject);
  });
  await consumer.disconnect();
}

const operations = {
  consume,
  create: ({topic, partitions, config}) => withAdmin((admin) => admin.createTopics({
    waitForLeaders: true,
    topics: [{topic, numPartitions: partitions, replicationFactor: 1,
              configEntries: Object.entries(config).map(([name, value]) => ({name, value: String(value)}))}],
  })),
  delete: ({topic}) => withAdmin((admin) => admin.deleteTopics({topics: [topic]})),
  alter: ({topic, config}) => withAdmin((admin) => admin.alterConfigs({
    validateOnly: false,
    resources: [{type: 2, name: topic, configEntries: Object.entries(config).map(([name, value]) => ({name, value: String(value)}))}],
  })),
  allow: ({user, topic, operations}) => withAdmin((admin) => admin.createAcls({
    acl: operations.map((operation) => ({
      resourceType: AclResourceTypes.TOPIC, resourceName: topic, resourcePatternType: ResourcePatternTypes.LITERAL,
      principal: `User:${user}`, host: '*', operation: AclOperationTypes[operation], permissionType: AclPermissionTypes.ALLOW,
    })),
  })),
  topics: () => withAdmin(async (admin) => console.log(JSON.stringify(await admin.listTopics()))),
};

// A pipe may still have lines to take.
operations[operation](args).then(() => process.stdout.write('', () => process.exit(0)), (error) => {
  console.error(String(error));
  process.exit(1);
});
