/** One end of a stream: stream.ts tcp|udp receive ADDRESS PORT, or tcp|udp send ADDRESS PORT BYTES. */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { connect, createServer } from "node:net";

const [protocol, role, address = "", port = "", total = "0"] = process.argv.slice(2);
const family = address.includes(":") ? "udp6" : "udp4";
const CHUNK = 1 << 20;
const DATAGRAM = 1200;
/** Datagrams in flight: any socket buffer holds them, even if each uses three times its size. */
const WINDOW = 24;
const noise = randomBytes(CHUNK + DATAGRAM);

const report = (bytes: number, hash: Hash) =>
  console.log(JSON.stringify({ bytes, sha256: hash.digest("hex") }));

function receiveTcp(): void {
  const server = createServer((socket) => {
    const hash = createHash("sha256");
    let bytes = 0;
    socket.on("data", (data) => {
      hash.update(data);
      bytes += data.length;
    });
    socket.on("end", () => {
      socket.end();
      report(bytes, hash);
    });
  });
  server.listen(Number(port), address, () => console.log("listening"));
}

async function sendTcp(): Promise<void> {
  const socket = connect(Number(port), address);
  const hash = createHash("sha256");
  let left = Number(total);
  while (left > 0) {
    const data = noise.subarray(left % DATAGRAM, (left % DATAGRAM) + Math.min(left, CHUNK));
    hash.update(data);
    left -= data.length;
    if (!socket.write(data)) await new Promise((resolve) => socket.once("drain", resolve));
  }
  socket.end();
  await new Promise((resolve) => socket.once("close", resolve));
  report(Number(total), hash);
}

function receiveUdp(): void {
  const socket = createSocket(family);
  const hash = createHash("sha256");
  let bytes = 0;
  socket.on("message", (data, from) => {
    // An empty datagram ends the stream.
    if (data.length === 0) report(bytes, hash);
    else hash.update(data);
    bytes += data.length;
    socket.send(String(bytes), from.port, from.address);
  });
  socket.bind(Number(port), address, () => console.log("listening"));
}

async function sendUdp(): Promise<void> {
  const socket = createSocket(family);
  socket.connect(Number(port), address);
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  const hash = createHash("sha256");
  let sent = 0;
  for (let answered = 0; sent < Number(total); ) {
    for (let i = 0; i < WINDOW && sent < Number(total); i++) {
      // Some datagrams are short.
      const size = i % 10 === 9 ? 1 + (sent % 700) : DATAGRAM;
      const data = noise.subarray(sent % CHUNK, (sent % CHUNK) + size);
      hash.update(data);
      sent += size;
      socket.send(data);
    }
    answered = await answer(socket, answered, sent);
  }
  socket.send("");
  await answer(socket, -1, 0);
  socket.close();
  report(sent, hash);
}

function answer(socket: Socket, answered: number, wanted: number): Promise<number> {
  if (answered >= wanted) return Promise.resolve(answered);
  return new Promise((resolve) => {
    const take = (data: Buffer) => {
      if (Number(data) < wanted) return;
      socket.off("message", take);
      resolve(Number(data));
    };
    socket.on("message", take);
  });
}

if (role === "receive") protocol === "tcp" ? receiveTcp() : receiveUdp();
else await (protocol === "tcp" ? sendTcp() : sendUdp());
