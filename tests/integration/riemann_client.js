// npm's riemann as a sender: node riemann_client.js PORT EVENTS, the events as JSON: [["udp"|"tcp"|"state", {…}], …]. Exit
// status 0 when all of TCP was acknowledged and all of UDP handed to the system, 1 with what went wrong, 77 where a
// module is not installed.
const fail = (error) => {
  console.error(String(error && error.stack || error));
  process.exit(/Cannot find module/.test(error) ? 77 : 1);
};
process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);

const riemann = require("riemann");
const [port, events] = process.argv.slice(2).map((text) => JSON.parse(text));
const client = riemann.createClient({ host: "127.0.0.1", port });
client.on("error", fail);

// One after another: this client takes the answers of one read for one.
const waiting = events.filter(([how]) => how !== "udp");
const next = () => {
  if (waiting.length === 0) {
    for (const [, fields] of events.filter(([how]) => how === "udp")) client.send(client.Event(fields));
    setTimeout(() => process.exit(0), 200);
    return;
  }
  const [how, fields] = waiting.shift();
  client.send(how === "state" ? client.State(fields) : client.Event(fields), client.tcp);
};
client.on("data", (answer) => (answer.ok ? next() : fail(`refused: ${answer.error}`)));
client.on("connect", next);
setTimeout(() => fail("not all was acknowledged within 30 s"), 30000);
