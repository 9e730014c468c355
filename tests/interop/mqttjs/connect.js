// Connects as the tests want it: once, and with an error where the client would retry.

import mqtt from "mqtt";

const PROTOCOL_IDS = { 3: "MQIsdp", 4: "MQTT", 5: "MQTT" };

/** A client that is connecting; `onMessage` is in place before any message can come. */
export function connect(url, version, clientId, clean, onMessage) {
  const client = mqtt.connect(url, {
    protocolVersion: version,
    protocolId: PROTOCOL_IDS[version],
    clientId,
    clean,
    reconnectPeriod: 0,
    properties: version === 5 && !clean ? { sessionExpiryInterval: 3600 } : undefined,
  });
  client.on("message", onMessage);
  return new Promise((resolve, reject) => {
    client.once("connect", (connack) => resolve({ client, connack }));
    client.once("error", reject);
    client.once("close", () => reject(new Error(`${clientId} was closed before its CONNACK`)));
  });
}
