/** A TestNet with two routers between its hosts. The MTU of the links can change. */
import { type Host, inside, ip, nameOf, TestNet } from "./net.ts";
import { run } from "./run.ts";

/** The link of host a, or the link between the routers, whose MTU the hosts do not know. */
export type PathLink = "first" | "middle";

const GATEWAY = { ipv4: "169.254.0.1", ipv6: "fe80::1" } as const;
const MIDDLE = [
  { ipv4: "203.0.113.1", ipv6: "2001:db8:f::1" },
  { ipv4: "203.0.113.2", ipv6: "2001:db8:f::2" },
] as const;

export class RoutedNet {
  readonly net: TestNet;
  /** Paths of the routers' namespaces; the first router is host a's. */
  readonly #routers: readonly [string, string];

  private constructor(net: TestNet, routers: readonly [string, string]) {
    this.net = net;
    this.#routers = routers;
  }

  static async create({ aIsInitial = false } = {}): Promise<RoutedNet> {
    const net = await TestNet.create({ aIsInitial });
    const routers = [await net.addPod("r1"), await net.addPod("r2")] as const;
    const [r1, r2] = routers.map(nameOf) as [string, string];
    await ip(net.a.name, "link", "del", net.a.device);
    await run(["ip", "-n", r1, "link", "add", "middle", ...veth("middle", r2)]);
    const sides = [
      { host: net.a, other: net.b, router: r1, near: MIDDLE[0], far: MIDDLE[1] },
      { host: net.b, other: net.a, router: r2, near: MIDDLE[1], far: MIDDLE[0] },
    ] as const;
    for (const { host, router, near } of sides) {
      await run(["ip", "-n", host.name, "link", "add", host.device, ...veth("host", router)]);
      await forward(router);
      await address(host.name, host.device, `${host.ipv4}/32`, `${host.ipv6}/128`);
      await address(router, "host", `${GATEWAY.ipv4}/32`, `${GATEWAY.ipv6}/64`);
      await address(router, "middle", `${near.ipv4}/24`, `${near.ipv6}/64`);
    }
    for (const { host, other, router, far } of sides) {
      for (const family of ["ipv4", "ipv6"] as const) {
        await ip(host.name, "route", "add", ...routeOf(host, other, family));
        await ip(router, "route", "add", host[family], "dev", "host");
        await ip(router, "route", "add", other[family], "via", far[family]);
      }
    }
    return new RoutedNet(net, routers);
  }

  /** Sets the MTU at both ends of a link. */
  async setMtu(link: PathLink, mtu: number): Promise<void> {
    const { a } = this.net;
    const [r1, r2] = this.#routers;
    const ends =
      link === "first"
        ? [
            [a.name, a.device],
            [r1, "host"],
          ]
        : [
            [r1, "middle"],
            [r2, "middle"],
          ];
    for (const [namespace = "", device = ""] of ends) {
      await ip(namespace, "link", "set", device, "mtu", String(mtu));
    }
  }

  /** Deletes or restores host a's routes to host b. */
  async setRoutes(what: "add" | "del"): Promise<void> {
    const { a, b } = this.net;
    for (const family of ["ipv4", "ipv6"] as const) {
      await ip(a.name, "route", what, ...routeOf(a, b, family));
    }
  }

  remove(): Promise<void> {
    return this.net.remove();
  }
}

const routeOf = (host: Host, other: Host, family: "ipv4" | "ipv6"): string[] => [
  ...[other[family], "via", GATEWAY[family], "dev", host.device, "src", host[family]],
  ...(family === "ipv4" ? ["onlink"] : []),
];

const veth = (peer: string, namespace: string) => [
  ...["type", "veth", "peer", "name", peer, "netns", namespace],
];

async function address(namespace: string, device: string, ...prefixes: string[]): Promise<void> {
  for (const prefix of prefixes) {
    const isDone = prefix.includes(":") ? ["nodad"] : [];
    await ip(namespace, "addr", "add", prefix, "dev", device, ...isDone);
  }
  await ip(namespace, "link", "set", device, "up");
}

async function forward(router: string): Promise<void> {
  for (const setting of ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]) {
    await run(inside(router, "sysctl", "-qw", setting));
  }
}
