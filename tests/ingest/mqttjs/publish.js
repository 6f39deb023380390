// Publishes each line of stdin with MQTT.js and ends when the broker has acknowledged all of them.
// Argument: JSON {url, qos, topic, options}, options as for mqtt.connect.
const fs = require("fs");
const mqtt = require("mqtt");

const { url, qos, topic, options } = JSON.parse(process.argv[2]);
if (options.ca) options.ca = fs.readFileSync(options.ca);
const lines = fs.readFileSync(0, "utf8").split("\n").filter(Boolean);
const client = mqtt.connect(url, { reconnectPeriod: 50, ...options });

client.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
let unacknowledged = lines.length;
client.once("connect", () => {
  for (const line of lines) {
    client.publish(topic, line, { qos }, (error) => {
      if (error) console.error(error.message);
      unacknowledged -= 1;
      if (unacknowledged === 0) client.end();
    });
  }
});
