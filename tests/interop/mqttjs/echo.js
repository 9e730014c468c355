// Ten messages to itself; runs in Node and in a page.

import { connect } from "./connect.js";

const COUNT = 10;

/** Returns what came. */
export async function echo(url, version, qos, name) {
  const received = [];
  let complete;
  const all = new Promise((resolve) => (complete = resolve));

  const { client } = await connect(url, version, name, true, (topic, payload, packet) => {
    received.push({ topic, payload: payload.toString(), qos: packet.qos });
    if (received.length === COUNT) complete();
  });
  await client.subscribeAsync(`${name}/#`, { qos });
  for (let number = 0; number < COUNT; number++) {
    await client.publishAsync(`${name}/${number}`, `message ${number}`, { qos });
  }
  await all;
  await client.endAsync();
  return received;
}
