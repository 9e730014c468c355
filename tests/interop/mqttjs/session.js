// session.js begin|resume URL VERSION NAME: a client with a session that outlives its connection.
// To begin, it subscribes to NAME/0, NAME/1 and NAME/2 and publishes to each, at the QoS of its name;
// to resume, it waits for one message. Prints what it receives, as JSON.

import { connect } from "./connect.js";

const [mode, url, version, name] = process.argv.slice(2);
const levels = mode === "begin" ? [0, 1, 2] : [];

const received = [];
let complete;
const all = new Promise((resolve) => (complete = resolve));
const { client } = await connect(url, Number(version), name, false, (topic, payload, packet) => {
  received.push([topic, packet.qos, payload.toString()]);
  if (received.length === (levels.length || 1)) complete();
});
for (const qos of levels) await client.subscribeAsync(`${name}/${qos}`, { qos });
for (const qos of levels) await client.publishAsync(`${name}/${qos}`, "hello", { qos });
await all;
await client.endAsync();
console.log(JSON.stringify(received));
