// fleet.js subscribe|collect URL VERSION ID...: clients with sessions that outlive their
// connections. Prints, per client, whether its session was there and the message it then got.

import { connect } from "./connect.js";

const [what, url] = process.argv.slice(2, 4);
const version = Number(process.argv[4]);
const ids = process.argv.slice(5);

async function subscribe(id) {
  const { client, connack } = await connect(url, version, id, false, () => {});
  await client.subscribeAsync(`queued/${id}`, { qos: 1 });
  await client.endAsync();
  return [connack.sessionPresent, null];
}

async function collect(id) {
  let arrived;
  const message = new Promise((resolve) => (arrived = resolve));
  const { client, connack } = await connect(url, version, id, false, (_topic, payload) =>
    arrived(payload.toString()),
  );
  const text = await message;
  await client.endAsync();
  return [connack.sessionPresent, text];
}

const run = { subscribe, collect }[what];
const found = await Promise.all(ids.map(async (id) => [id, await run(id)]));
console.log(JSON.stringify(Object.fromEntries(found)));
