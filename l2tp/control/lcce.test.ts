import { describe, expect, it } from "vitest";
import type { Attributes } from "./attributes.ts";
import type { ConnectionSettings, ControlConnection } from "./connection.ts";
import { DEFAULT_DELIVERY } from "./delivery.ts";
import { type Body, decodeMessage, encodeBody, encodeMessage } from "./message.ts";
import { type Octets, toHex } from "./octets.ts";
import type { SessionConfig } from "./session.ts";
import { type End, fitsTogether, Simulation, TUNNEL } from "./testing/simulation.ts";
import { sessionConfig } from "./testing/testdata.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const secret = (text: string) => [new TextEncoder().encode(text)];

function lan(change: Partial<SessionConfig> = {}): SessionConfig[] {
  return [sessionConfig(change)];
}

/** Two ends of one session; the first one asks. */
function started(settings: Partial<ConnectionSettings> = {}): [Simulation, End, End] {
  const simulation = new Simulation();
  const one = simulation.add(1, {}, settings);
  const other = simulation.add(2, { initiates: false }, settings);
  other.start(lan({ callRequest: null }));
  one.start(lan());
  return [simulation, one, other];
}

/** Both ends have the session, and it is the same one. */
function isJoined(...[one, other]: [End, End]): boolean {
  return one.sessions.size > 0 && fitsTogether(one, other);
}

/** The types of all messages that were sent; acknowledgements are left out. */
function said({ trace }: Simulation): string[] {
  return trace.flatMap((octets) => {
    const message = decodeMessage(octets);
    if ("undecodable" in message || message.type === "ACK") return [];
    return [String(message.type)];
  });
}

describe("a managed tunnel", () => {
  it("is established by three messages, and each session by three", () => {
    const [simulation, one, other] = started();
    simulation.run(MINUTE / 2);
    expect(said(simulation)).toEqual(["SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ICRP", "ICCN"]);
    expect(isJoined(one, other)).toBe(true);
    expect(one.peering.established?.peer).toMatchObject({ hostName: "node-1" });
  });

  it.each([
    ["with MD5", { secrets: secret("a"), digest: "md5" }, {}],
    ["with SHA-1", { secrets: secret("a"), digest: "sha1" }, {}],
    ["with hidden values", { secrets: secret("a"), hidesValues: true }, {}],
    [
      "while the secret changes",
      { secrets: [...secret("new"), ...secret("old")] },
      { secrets: secret("old") },
    ],
  ] as const)("authenticates %s", (_, mine, theirs) => {
    const simulation = new Simulation();
    const one = simulation.add(1, {}, mine);
    const other = simulation.add(2, { initiates: false }, { ...mine, ...theirs });
    other.start(lan({ callRequest: null }));
    one.start(lan());
    simulation.run(MINUTE / 2);
    expect(isJoined(one, other)).toBe(true);
    // The name is there in clear text or not.
    const text = simulation.trace.map((octets) => Buffer.from(octets).toString("latin1")).join("");
    const cookie = Buffer.from(one.sessions.get("shop/lan")?.rxCookie ?? "", "hex");
    expect(text.includes(cookie.toString("latin1"))).toBe(!("hidesValues" in mine));
  });

  it("is not established with another secret, and counts unauthenticated messages", () => {
    const simulation = new Simulation();
    const one = simulation.add(1, {}, { secrets: secret("a") });
    const other = simulation.add(2, { initiates: false }, { secrets: secret("b") });
    other.start();
    one.start();
    simulation.run(5 * MINUTE);
    expect([...one.ups, ...other.ups]).toEqual([]);
    expect(new Set(said(simulation))).toEqual(new Set(["SCCRQ"]));
    expect(other.peering.unauthenticated).toBeGreaterThan(0);
    expect(other.peering.lastEnding?.why).toBe(
      "the peer's messages are not signed with our shared secret",
    );
    // It hears nothing of the peer.
    expect(one.peering.lastEnding?.why).toBe(
      "no response from the peer; its shared secret may differ",
    );
  });

  it.each([
    ["another secret", secret("b"), "are not signed with our shared secret"],
    ["none", [], "are not signed with our shared secret"],
  ])("reports a secret mismatch if the peer initiates with %s", (_, theirs, why) => {
    const simulation = new Simulation();
    const one = simulation.add(1, {}, { secrets: secret("a") });
    const other = simulation.add(2, {}, { secrets: theirs });
    one.start();
    other.start();
    simulation.run(5 * MINUTE);
    expect([...one.ups, ...other.ups]).toEqual([]);
    expect(one.peering.lastEnding?.why).toBe(`the peer's messages ${why}`);
  });

  it("reports that the shared secret is missing on this node", () => {
    const simulation = new Simulation();
    const one = simulation.add(1, {}, { secrets: secret("a") });
    const other = simulation.add(2, { initiates: false }, {});
    one.start();
    other.start();
    simulation.run(MINUTE);
    expect(other.peering.lastEnding?.why).toMatch(/signed with a shared secret, but none/);
  });

  it("reports unsigned messages only while they arrive", () => {
    const simulation = new Simulation();
    const one = simulation.add(1, {}, { secrets: secret("a") });
    const other = simulation.add(2, {}, { secrets: secret("b") });
    one.start();
    other.start();
    simulation.run(MINUTE);
    expect(one.peering.lastEnding?.why).toMatch(/not signed/);
    other.isOn = false;
    simulation.run(10 * MINUTE);
    expect(one.peering.lastEnding?.why).toMatch(/^no response from the peer/);
  });

  it.each([
    ["we", secret("a"), []],
    ["the peer", [], secret("a")],
  ])("reports that only %s authenticate", (_, mine, theirs) => {
    const simulation = new Simulation();
    const one = simulation.add(1, {}, { secrets: mine });
    const other = simulation.add(2, { initiates: false }, { secrets: theirs });
    other.start();
    one.start();
    simulation.run(MINUTE);
    expect([...one.ups, ...other.ups]).toEqual([]);
  });

  it("is established once if both ends initiate at once", () => {
    for (let seed = 1; seed < 50; seed++) {
      const simulation = new Simulation();
      const one = simulation.add(seed);
      const other = simulation.add(seed + 100);
      one.start(lan());
      other.start(lan());
      simulation.run(MINUTE / 2);
      expect(isJoined(one, other), `seed ${seed}`).toBe(true);
      expect([one.ups.length, other.ups.length]).toEqual([1, 1]);
      const established = [one, other].map(({ peering }) => peering.established);
      expect(established[0]?.peer.connectionId).toBe(established[1]?.localId);
    }
  });

  it("retries if both ends have the same tie breaker", () => {
    const simulation = new Simulation();
    const one = simulation.add(1);
    const other = simulation.add(1);
    one.start(lan());
    other.start(lan());
    simulation.run(10 * MINUTE, () => isJoined(one, other));
    // The same random source gives the same choices forever; the test only checks that no end is stuck.
    expect(one.peering.connections.length).toBeLessThan(20);
  });

  it("is established without a common pseudowire type, and requests no session", () => {
    const simulation = new Simulation();
    const one = simulation.add(1);
    const other = simulation.add(2, { initiates: false }, { pseudowireTypes: [12, 4] });
    other.start(lan({ callRequest: null }));
    one.start(lan());
    simulation.run(10 * MINUTE);
    expect([one.isUp, other.isUp]).toEqual([true, true]);
    expect(said(simulation)).not.toContain("ICRQ");
    expect(one.endings.map(({ why }) => why)).toEqual([
      "the peer does not support pseudowire type 5 (Ethernet); its types: 12 (MPEG-TS), 4 (Ethernet VLAN)",
    ]);
    expect(one.peering.lastEndingOf("shop/lan")).toMatchObject({ by: "us", result: null });
  });

  it("sends the same octets for the same calls", () => {
    const traces = [1, 2].map(() => {
      const simulation = new Simulation();
      const one = simulation.add(1, {}, { secrets: secret("a"), hidesValues: true });
      const other = simulation.add(2, {}, { secrets: secret("a"), hidesValues: true });
      one.start(lan());
      other.start(lan());
      simulation.run(10 * MINUTE);
      return simulation.trace.map(toHex);
    });
    expect(traces[0]).toEqual(traces[1]);
    expect(traces[0]?.length).toBeGreaterThan(15);
  });
});

describe("sessions", () => {
  /** Two ends with a tunnel. */
  function joined(mine: SessionConfig[], theirs: SessionConfig[]): [Simulation, End, End] {
    const simulation = new Simulation();
    const one = simulation.add(1);
    const other = simulation.add(2, { initiates: false });
    other.start(theirs);
    one.start(mine);
    simulation.run(SECOND / 2);
    return [simulation, one, other];
  }

  it.each([
    ["the sublayer of one", { l2SpecificSublayer: "Default" }, {}, "Default", false, false],
    ["the sublayer of the other", {}, { l2SpecificSublayer: "Default" }, "Default", false, false],
    ["none", {}, {}, "None", false, false],
    ["numbers one way", { receiveSequencing: true }, {}, "Default", false, true],
    ["numbers the other way", {}, { receiveSequencing: true }, "Default", true, false],
    [
      "numbers both ways",
      { receiveSequencing: true },
      { receiveSequencing: true },
      "Default",
      true,
      true,
    ],
  ] as const)("agree on %s", (_, mine, theirs, sublayer, send, receive) => {
    const [, one, other] = joined(lan(mine), lan({ callRequest: null, ...theirs }));
    expect(isJoined(one, other)).toBe(true);
    expect(one.sessions.get("shop/lan")).toMatchObject({
      l2SpecificSublayer: sublayer,
      sequencing: { send, receive },
    });
  });

  it("have configured, random or no cookies", () => {
    const [, one, other] = joined(
      lan({ rxCookie: "01020304" }),
      lan({ callRequest: null, rxCookie: "" }),
    );
    expect(one.sessions.get("shop/lan")).toMatchObject({ rxCookie: "01020304", txCookie: "" });
    expect(isJoined(one, other)).toBe(true);
  });

  it("are established by an outgoing call, too", () => {
    const [simulation, one, other] = joined(
      lan({ callRequest: "OCRQ" }),
      lan({ callRequest: null }),
    );
    expect(isJoined(one, other)).toBe(true);
    expect(said(simulation).slice(3)).toEqual(["OCRQ", "OCRP", "OCCN"]);
  });

  it("are established once if both ends request them at once", () => {
    for (const callRequest of ["ICRQ", "OCRQ"] as const) {
      const [simulation, one, other] = joined(lan({ callRequest }), lan({ callRequest }));
      simulation.run(MINUTE / 2);
      expect(isJoined(one, other)).toBe(true);
      expect(said(simulation)).toContain("CDN");
      expect(one.endings.length + other.endings.length).toBeGreaterThan(0);
    }
  });

  it("are refused with a reason for an unknown Remote End ID, and established when it is configured", () => {
    const [simulation, one, other] = joined(lan(), []);
    expect(one.peering.lastEndingOf("shop/lan")).toMatchObject({
      by: "peer",
      result: 5,
      why: 'no facilities (no session with the Remote End ID "lan")',
    });
    other.peering.putSession(sessionConfig({ callRequest: null }), simulation.now);
    simulation.run(MINUTE);
    expect(isJoined(one, other)).toBe(true);
    expect(one.peering.lastEndingOf("shop/lan")).toBeNull();
  });

  it("are refused with another pseudowire type", () => {
    const [, one] = joined(lan(), lan({ callRequest: null, pseudowireType: 4 }));
    expect(one.peering.lastEndingOf("shop/lan")).toMatchObject({ by: "peer", result: 14 });
  });

  it("end at both ends when one end deletes them, and return with it", () => {
    const [simulation, one, other] = joined(lan(), lan({ callRequest: null }));
    other.peering.deleteSession("shop/lan", simulation.now);
    simulation.run(simulation.now + 100);
    expect([one.sessions.size, other.sessions.size]).toEqual([0, 0]);
    expect(one.endings.at(-1)?.why).toContain("the session was deleted");
    other.peering.putSession(sessionConfig({ callRequest: null }), simulation.now);
    simulation.run(simulation.now + 2 * MINUTE);
    expect(isJoined(one, other)).toBe(true);
  });

  it("signal a circuit that changes during negotiation", () => {
    const simulation = new Simulation();
    const one = simulation.add(1);
    const other = simulation.add(2, { initiates: false });
    other.start(lan({ callRequest: null }));
    one.start(lan());
    simulation.run(MINUTE, () => said(simulation).includes("ICRP"));
    other.peering.setCircuit("shop/lan", { active: true, standby: false }, simulation.now);
    simulation.run(MINUTE / 2);
    expect(one.sessions.get("shop/lan")?.peerCircuit).toEqual({ active: true, standby: false });
    expect(said(simulation).slice(-2)).toEqual(["ICCN", "SLI"]);
  });

  it("signal circuits and their changes", () => {
    const [simulation, one, other] = started();
    one.peering.setCircuit("shop/lan", { active: true, standby: false }, 0);
    simulation.run(500);
    expect(other.sessions.get("shop/lan")?.peerCircuit).toEqual({ active: true, standby: false });
    expect(one.sessions.get("shop/lan")?.peerCircuit.active).toBe(false);
    other.peering.setCircuit("shop/lan", { active: true, standby: true }, simulation.now);
    one.peering.setCircuit("shop/lan", { active: false, standby: false }, simulation.now);
    simulation.run(simulation.now + 100);
    expect(one.circuits).toEqual([["shop/lan", { active: true, standby: true }]]);
    expect(other.circuits).toEqual([["shop/lan", { active: false, standby: false }]]);
  });
});

describe("a peer that is down", () => {
  const FAST = { helloMs: 5 * SECOND, deadAfterMs: 8 * SECOND };

  it("is detected within the limit, and reconnects", () => {
    const [simulation, one, other] = started(FAST);
    simulation.run(MINUTE);
    expect(one.downs).toEqual([]);
    other.isOn = false;
    const gone = simulation.now;
    simulation.run(gone + 2 * MINUTE, () => !one.isUp);
    expect(simulation.now - gone).toBeLessThanOrEqual(FAST.deadAfterMs);
    expect(one.sessions.size).toBe(0);
    expect(one.downs[0]?.why).toMatch(/^no message received for \d+\.\d s$/);
    other.isOn = true;
    other.reboot();
    simulation.run(simulation.now + 2 * MINUTE);
    expect(isJoined(one, other)).toBe(true);
  });

  it("that has restarted without a session is not listed with it", () => {
    const simulation = new Simulation();
    const one = simulation.add(1, {}, {});
    const other = simulation.add(2);
    one.start(lan({ callRequest: null }));
    other.start(lan());
    simulation.run(SECOND);
    expect(one.sessions.size).toBe(1);
    other.forget();
    other.reboot();
    simulation.run(simulation.now + 20 * SECOND);
    expect(one.isUp).toBe(true);
    expect(one.sessions.size).toBe(0);
  });

  it("that has restarted reconnects at once, before its failure is detected", () => {
    const simulation = new Simulation();
    const one = simulation.add(1);
    const other = simulation.add(2);
    other.start(lan());
    one.start(lan());
    simulation.run(MINUTE / 4);
    const before = one.peering.established;
    other.reboot();
    simulation.run(simulation.now + 5 * SECOND);
    expect(one.peering.established).not.toBe(before);
    expect(isJoined(one, other)).toBe(true);
  });

  it("gets no HELLO while its frames arrive", () => {
    const simulation = new Simulation();
    const one = simulation.add(1, {}, FAST);
    const other = simulation.add(2, { initiates: false }, FAST);
    other.start();
    one.start();
    for (let at = SECOND; at < MINUTE; at += SECOND) {
      simulation.run(at);
      for (const { peering } of [one, other]) peering.hear(at);
    }
    expect(said(simulation)).not.toContain("HELLO");
  });

  it("is notified of a deleted tunnel, and all state is removed", () => {
    const [simulation, one, other] = started();
    simulation.run(SECOND);
    one.lcce.delete(TUNNEL, simulation.now);
    simulation.run(simulation.now + SECOND);
    expect(other.downs[0]).toMatchObject({ by: "peer", result: 6 });
    simulation.run(simulation.now + 10 * MINUTE);
    expect(one.lcce.deadline()).toBe(Number.POSITIVE_INFINITY);
    expect(other.peering.connections).toEqual([]);
  });

  it("gets the first retransmission of a request after 150 ms, and later ones as usual", () => {
    const simulation = new Simulation();
    const one = simulation.add(1);
    simulation.add(2).isOn = false;
    one.start();
    const counts = [149, 150, 1149, 1150, 3149, 3150].map((until) => {
      simulation.run(until);
      return simulation.trace.length;
    });
    expect(counts).toEqual([1, 2, 2, 3, 3, 4]);
    expect(new Set(simulation.trace.map((octets) => octets.join())).size).toBe(1);
  });

  it("is considered down if it does not acknowledge, and retried with backoff", () => {
    const simulation = new Simulation();
    const delivery = { ...DEFAULT_DELIVERY, maxRetransmits: 2 };
    const one = simulation.add(1, {}, { delivery });
    simulation.add(2).isOn = false;
    one.start();
    simulation.run(20 * MINUTE);
    // Each time it says the same four times.
    const count = said(simulation).length / 4;
    expect(count).toBeGreaterThan(20);
    expect(count).toBeLessThan(40);
    expect(one.peering.lastEnding?.why).toBe("the peer does not acknowledge messages");
  });
});

describe("a quiescent tunnel", () => {
  const QUIESCENT = { mode: "Quiescent" } as const;
  const FAST = { helloMs: 5 * SECOND, deadAfterMs: 8 * SECOND };

  function pair(): [Simulation, End, End] {
    const simulation = new Simulation();
    const one = simulation.add(1, { ...QUIESCENT, tunnelId: 5, peerTunnelId: 6 }, FAST);
    const other = simulation.add(2, { ...QUIESCENT, tunnelId: 6, peerTunnelId: 5 }, FAST);
    other.start();
    one.start();
    simulation.run(MINUTE);
    return [simulation, one, other];
  }

  it("sends only HELLO, and is up while the peer is heard", () => {
    const [simulation, one, other] = pair();
    expect(new Set(said(simulation))).toEqual(new Set(["HELLO"]));
    expect([one.isUp, other.isUp]).toEqual([true, true]);
    expect([one.downs, other.downs]).toEqual([[], []]);
  });

  it("detects a dead peer within the limit, and recovers after a restart of either end", () => {
    const [simulation, one, other] = pair();
    other.isOn = false;
    const gone = simulation.now;
    simulation.run(gone + MINUTE, () => !one.isUp);
    expect(simulation.now - gone).toBeLessThanOrEqual(FAST.deadAfterMs);
    simulation.run(simulation.now + MINUTE);
    other.isOn = true;
    simulation.run(simulation.now + MINUTE);
    expect([one.isUp, other.isUp]).toEqual([true, true]);
    other.reboot();
    simulation.run(simulation.now + 2 * MINUTE);
    expect([one.isUp, other.isUp]).toEqual([true, true]);
    const downs = one.downs.length;
    simulation.run(simulation.now + 10 * MINUTE);
    expect(one.downs).toHaveLength(downs);
  });

  it("does not go down after a restart of the peer", () => {
    for (const rebooting of [0, 1] as const) {
      const [simulation, one, other] = pair();
      const [stays, restarts] = rebooting === 0 ? [other, one] : [one, other];
      simulation.run(simulation.now + 5 * MINUTE);
      restarts.reboot();
      const downs = stays.downs.length;
      simulation.run(simulation.now + 10 * MINUTE);
      expect([stays.isUp, restarts.isUp]).toEqual([true, true]);
      expect(stays.downs.length - downs).toBeLessThanOrEqual(0);
    }
  });

  it("is not up if the peer does not answer", () => {
    const simulation = new Simulation();
    const one = simulation.add(1, QUIESCENT, FAST);
    one.start();
    simulation.run(10 * MINUTE);
    expect([one.ups, one.downs]).toEqual([[], []]);
  });
});

describe("a malicious peer", () => {
  const from = { address: "192.0.2.2", port: 1701 };

  /** One end that is established, and what its peer says next, in octets. */
  function established(): [Simulation, End, (body: Body) => void] {
    const [simulation, one, other] = started();
    simulation.run(SECOND);
    other.isOn = false;
    const connection = one.peering.established as ControlConnection;
    let { nr: ns, ns: nr } = connection.describeDelivery();
    return [
      simulation,
      one,
      (body) => {
        const header = { connectionId: connection.localId, ns: ns++, nr: nr++ };
        const { octets } = encodeMessage(header, encodeBody(body));
        one.lcce.receive("UDP", from, octets, simulation.now);
      },
    ];
  }

  it.each(["x".repeat(990), "\u0000".repeat(500), "\u00ff".repeat(900)])(
    "is refused whatever it asks for, however long",
    (remoteEndId) => {
      const [, one, say] = established();
      const attributes = {
        localSessionId: 9,
        remoteSessionId: 0,
        serialNumber: 1,
        pseudowireType: 5,
        remoteEndId,
        circuitStatus: 1,
      };
      expect(() => say({ type: "ICRQ", attributes })).not.toThrow();
      expect(one.sessions.size).toBe(1);
    },
  );

  it("writes no control characters to terminals", () => {
    const [, one, say] = established();
    const message = "\u001b[2Jgone\nfor ever";
    say({ type: "StopCCN", attributes: { resultCode: { result: 1, error: 0, message } } });
    expect(one.downs[0]?.why).toContain("\u00b7[2Jgone\u00b7for ever");
  });

  it("leaves no state by failed requests", () => {
    const simulation = new Simulation();
    const one = simulation.add(1, { initiates: false });
    one.start();
    const attributes = {
      hostName: "x",
      routerId: 1,
      assignedConnectionId: 1,
      pseudowireCapabilities: [5],
    };
    // It asks for authentication, and there is no secret.
    const incompatible = { ...attributes, nonce: new Uint8Array(16) };
    for (let id = 1; id < 100; id++) {
      const send = (ns: number, nr: number, said: Attributes) => {
        const header = { connectionId: 0, ns, nr };
        const body = encodeBody({
          type: "SCCRQ",
          attributes: { ...said, assignedConnectionId: id },
        });
        one.lcce.receive("UDP", from, encodeMessage(header, body).octets, id * 20);
      };
      send(3, 0, attributes);
      send(0, 3, attributes);
      send(0, 0, incompatible);
    }
    expect(one.peering.connections.length).toBeLessThanOrEqual(8);
    // An incompatible peer gets the reason.
    expect(said(simulation)).toContain("StopCCN");
    simulation.run(10 * MINUTE);
    expect(one.peering.connections).toEqual([]);
  });

  it("is not considered alive by replayed messages", () => {
    const simulation = new Simulation();
    const settings = { secrets: secret("a"), helloMs: 5 * SECOND, deadAfterMs: 8 * SECOND };
    const one = simulation.add(1, {}, settings);
    const other = simulation.add(2, { initiates: false }, settings);
    other.start();
    one.start();
    simulation.run(MINUTE);
    const recorded = simulation.trace.filter((octets) => {
      const message = decodeMessage(octets);
      return (
        !("undecodable" in message) &&
        message.header.connectionId === one.peering.established?.localId
      );
    });
    expect(recorded.length).toBeGreaterThan(5);
    other.isOn = false;
    const gone = simulation.now;
    for (let at = gone; at < gone + MINUTE && one.isUp; at += 100) {
      simulation.run(at);
      const octets = recorded[at % recorded.length] as (typeof recorded)[number];
      one.lcce.receive("UDP", { ...from, port: 6666 }, Uint8Array.from(octets), at);
    }
    expect(one.isUp).toBe(false);
    expect(simulation.now - gone).toBeLessThanOrEqual(settings.deadAfterMs + 200);
  });

  it("cannot reflect our own request", () => {
    const simulation = new Simulation();
    const one = simulation.add(1, {}, { secrets: secret("a") });
    one.start();
    const [request] = simulation.trace as [Octets];
    expect(one.lcce.receive("UDP", from, Uint8Array.from(request), 5)).toBe("reflected");
    expect(one.peering.connections.map(({ state }) => state)).toEqual(["wait-ctl-reply"]);
  });
});

describe("unknown senders", () => {
  it("get no answer, and are counted", () => {
    const simulation = new Simulation();
    const one = simulation.add(1, { initiates: false });
    one.start();
    const request = (() => {
      const other = new Simulation();
      other.add(9).start();
      return other.trace[0] as Uint8Array<ArrayBuffer>;
    })();
    const from = (address: string) => ({ address, port: 1701 });
    expect(one.lcce.receive("UDP", from("203.0.113.9"), request, 0)).toBe("unknown peer");
    expect(one.lcce.receive("other", from("192.0.2.2"), request, 0)).toBe("unknown peer");
    const data = new Uint8Array(64);
    expect(one.lcce.receive("UDP", from("192.0.2.2"), data, 0)).toBe("undecodable");
    const large = new Uint8Array(10_000);
    large.set(request);
    expect(one.lcce.receive("UDP", from("192.0.2.2"), large, 0)).toBe("undecodable");
    expect(simulation.trace).toEqual([]);
  });

  it.each([
    ["which begins", true],
    ["which waits", false],
  ])("cannot keep a peer from us, %s, by requests in its name", (_, initiates) => {
    const simulation = new Simulation();
    const one = simulation.add(1, { initiates: !initiates });
    const other = simulation.add(2, { initiates });
    one.start(lan());
    let id = 1;
    /** Ten a second: as many as are admitted. They win every tie. */
    const forge = (untilMs: number, done = () => false) => {
      while (simulation.now < untilMs && !done()) {
        simulation.run(simulation.now + 100);
        const attributes = {
          ...{ hostName: "x", routerId: 1, assignedConnectionId: id++ },
          ...{ pseudowireCapabilities: [5], tieBreaker: "0000000000000000" },
        };
        const { octets } = encodeMessage(
          { connectionId: 0, ns: 0, nr: 0 },
          encodeBody({ type: "SCCRQ", attributes }),
        );
        one.lcce.receive("UDP", { address: "192.0.2.2", port: 1701 }, octets, simulation.now);
      }
    };
    // The other end is not there yet.
    forge(5 * SECOND);
    other.start(lan());
    forge(25 * SECOND, () => isJoined(one, other));
    expect(isJoined(one, other)).toBe(true);
    // And they cannot end it.
    const established = one.peering.established?.localId;
    forge(60 * SECOND);
    expect(isJoined(one, other)).toBe(true);
    expect(one.peering.established?.localId).toBe(established);
    expect(one.downs).toEqual([]);
  });

  it("have a limited number of half-open connections", () => {
    const simulation = new Simulation();
    const one = simulation.add(1, { initiates: false });
    one.start();
    for (let seed = 0; seed < 300; seed++) {
      const other = new Simulation();
      other.add(seed + 7).start();
      const [request] = other.trace as [Uint8Array<ArrayBuffer>];
      one.lcce.receive("UDP", { address: "192.0.2.2", port: 1701 }, request, seed / 2);
    }
    expect(one.peering.connections.length).toBeLessThanOrEqual(32);
    // And they are forgotten.
    simulation.run(20 * MINUTE);
    expect(one.peering.connections).toEqual([]);
  });
});
