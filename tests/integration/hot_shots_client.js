// npm's hot-shots as a sender: node hot_shots_client.js OPTIONS CALLS, both JSON. CALLS are [method, arguments…] in
// order; each has to give all arguments but the last, which is the callback. Exit status 0 when everything was handed
// to the system, 1 with what went wrong on stderr, 77 where a module it needs is not installed.
const fail = (error) => {
  console.error(String(error));
  process.exit(/not installed|Cannot find module/.test(error) ? 77 : 1);
};
process.on("uncaughtException", fail);

const { StatsD } = require("hot-shots");
const [options, calls] = process.argv.slice(2).map((text) => JSON.parse(text));

// Sampling that leaves out exactly every other one at a rate of 0.5.
let turn = 0;
Math.random = () => (turn++ % 2) / 2;

const client = new StatsD({ ...options, errorHandler: fail });
let left = calls.length;
const done = (error) => {
  if (error) fail(error);
  if (--left === 0) client.close((problem) => (problem ? fail(problem) : process.exit(0)));
};
for (const [method, ...given] of calls) client[method](...given, done);
setTimeout(() => fail("not all was sent within 20 s"), 20000);
