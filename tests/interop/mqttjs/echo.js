// echo.js PORT VERSION QOS NAME: ten messages to itself; prints what came, as JSON.

import { connect } from "./connect.js";

const COUNT = 10;

const [port, version, qos] = process.argv.slice(2, 5).map(Number);
const name = process.argv[5];

const received = [];
let complete;
const all = new Promise((resolve) => (complete = resolve));

const { client } = await connect(port, version, name, true, (topic, payload, packet) => {
  received.push({ topic, payload: payload.toString(), qos: packet.qos });
  if (received.length === COUNT) complete();
});
await client.subscribeAsync(`${name}/#`, { qos });
for (let number = 0; number < COUNT; number++) {
  await client.publishAsync(`${name}/${number}`, `message ${number}`, { qos });
}
await all;
await client.endAsync();
console.log(JSON.stringify(received));
