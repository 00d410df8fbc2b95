import { expect, it } from "vitest";
import { concat, fromHex, type Octets } from "../../../l2tp/control/octets.ts";
import { Simulation } from "../../../l2tp/control/testing/simulation.ts";
import { sessionConfig } from "../../../l2tp/control/testing/testdata.ts";
import { tunnel, tunnelControl } from "../../../model/testdata.ts";
import type { IpPacket } from "../../../net/ip-packet.ts";
import { MessageReader } from "./messages.ts";
import type { Subject } from "./subject.ts";

const SECRET = new TextEncoder().encode("s3cret");
const HOSTS = ["192.0.2.1", "192.0.2.2"] as const;

/** Returns the messages of a tunnel and a session that are being set up. */
function setUp(): readonly Octets[] {
  const settings = { secrets: [SECRET], hidesValues: true };
  const simulation = new Simulation();
  const one = simulation.add(1, {}, settings);
  const other = simulation.add(2, { initiates: false }, settings);
  other.start([sessionConfig({ callRequest: null })]);
  one.start([sessionConfig()]);
  simulation.run(1000);
  return simulation.trace;
}

/** Returns the traced items of the messages. @param from index of the first message to read */
function read(subject: Partial<Subject>, secrets: readonly Octets[], from = 0) {
  const reader = new MessageReader();
  const hex = secrets.map((secret) => Buffer.from(secret).toString("hex"));
  const traced = tunnel({ encapsulation: "IP", control: tunnelControl({ secrets: hex }) });
  const of = { session: null, sessions: [], tunnel: traced, ...subject } as unknown as Subject;
  const trace = setUp();
  const ids = trace.map((octets) => new DataView(octets.buffer).getUint32(4));
  const initiator = ids.find((id) => id !== 0);
  return trace.slice(from).flatMap((octets, index) => {
    const isReply = ids[index + from] === initiator;
    const [source, destination] = isReply ? HOSTS.toReversed() : HOSTS;
    const ip = { source, destination, payloadAt: 0 } as unknown as IpPacket;
    const packet = { outgoing: !isReply, device: 1, seconds: 0 };
    const whole = { ...packet, octets: concat(fromHex("00000000"), octets) };
    const addressed = { seconds: 0, outgoing: !isReply, from: source ?? "", to: destination ?? "" };
    return reader.read(whole, ip, addressed, of) ?? [];
  });
}

const types = (shown: ReturnType<typeof read>) => shown.map(({ type }) => type);

it("reads hidden AVPs, and omits cookies and nonces", () => {
  const shown = read({}, [SECRET]);
  expect(types(shown)).toEqual(["SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ACK", "ICRP", "ICCN", "ACK"]);
  expect(shown.every(({ isAuthentic }) => isAuthentic === true)).toBe(true);
  const said = shown.flatMap(({ attributes }) => attributes);
  expect(said).toContain('Remote End ID "lan"');
  expect(said).toContain("Assigned Cookie (8 octets)");
  expect(said.join("\n")).not.toMatch(/(Cookie|Nonce) [0-9a-f]/);
});

it("reads messages of the previous secret", () => {
  const shown = read({}, [new TextEncoder().encode("new"), SECRET]);
  expect(shown.every(({ isAuthentic }) => isAuthentic === true)).toBe(true);
  expect(shown.flatMap(({ flaws }) => flaws)).toEqual([]);
});

it("calls no message forged if the start of the conversation was not captured", () => {
  expect(read({}, [SECRET], 3).map(({ isAuthentic }) => isAuthentic)).not.toContain(false);
});

it("shows only the messages of a traced session, by its IDs", () => {
  const own = { session: "shop/lan", remoteEndId: "lan" };
  expect(types(read(own, [SECRET]))).toEqual(["ICRQ", "ICRP", "ICCN"]);
  expect(types(read({ ...own, remoteEndId: "other" }, [SECRET]))).toEqual([]);
});
