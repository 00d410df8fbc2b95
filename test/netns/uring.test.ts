import { afterEach, beforeEach, expect, it } from "vitest";
import { KernelFrameBatch, TapDevice } from "../../datapath/userspace/devices/kernel-ports.ts";
import { createArena } from "../../datapath/userspace/packet/arena.ts";
import { closeFd } from "../../linux/fd.ts";
import { openTap } from "../../linux/tun.ts";
import { Uring } from "../../linux/uring.ts";
import { ip, TestNet } from "../harness/net.ts";
import { until } from "../harness/wait.ts";

const SIZE = 8;
const SLOT = 4096;
const at = (index: number) => 64 + index * SLOT;
const arena = createArena(SIZE * SLOT);
let net: TestNet;
let device: TapDevice;

beforeEach(async () => {
  net = await TestNet.create();
  const { fd, index } = openTap(`/run/netns/${net.a.name}`, "tap0", "none");
  device = new TapDevice(fd, index, "none");
  await ip(net.a.name, "link", "set", "tap0", "up");
});

afterEach(async () => {
  closeFd(device.fd);
  await net.remove();
});

async function received(): Promise<number> {
  const json = await ip(net.a.name, "-j", "-s", "link", "show", "tap0");
  const [link] = JSON.parse(json) as [{ stats64: { rx: { packets: number } } }];
  return link.stats64.rx.packets;
}

/** Writes a frame that no stack answers. */
function putFrame(index: number, bytes: number): void {
  arena.bytes.fill(0, at(index) - 10, at(index) + bytes);
  arena.bytes.set(Buffer.from("02000000000102000000000288b5", "hex"), at(index));
}

for (const [name, make] of [
  ["by io_uring", () => new Uring(SIZE)],
  // Simulates a kernel that fails during operation.
  ["after io_uring has failed", () => new Refusing(SIZE)],
] as const) {
  it.skipIf(!hasUring())(`writes and reads ${name}, and reports failures`, async () => {
    const refusals: number[] = [];
    const batch = new KernelFrameBatch(arena, make(), (errno) => refusals.push(errno));
    for (let call = 0; call < 3; call++) {
      for (let index = 0; index < SIZE; index++) {
        putFrame(index, 60);
        // Shorter than an Ethernet header: the device refuses it.
        batch.setWrite(index, device, at(index), index === 3 ? 5 : 60);
      }
      batch.run(SIZE);
      expect(Array.from({ length: SIZE }, (_, index) => batch.result(index) < 0)).toEqual(
        Array.from({ length: SIZE }, (_, index) => index === 3),
      );
    }
    expect(await received()).toBe(3 * (SIZE - 1));
    expect(refusals).toHaveLength(name === "by io_uring" ? 0 : 1);

    // Discard the frames that the stack sends when a device comes up.
    let frames = 0;
    await until("frames are queued", () => {
      for (let index = 0; index < SIZE; index++) batch.setRead(index, device, at(index), SLOT - 64);
      batch.run(SIZE);
      for (let index = 0; index < SIZE; index++) {
        if (batch.result(index) > 0) frames++;
        else expect(batch.result(index)).toBe(0);
      }
      return frames > 0;
    });
    expect(arena.view.getUint16(at(0) + 12)).toBe(0x86dd);

    await ip(net.a.name, "link", "delete", "tap0");
    for (let index = 0; index < SIZE; index++) batch.setRead(index, device, at(index), SLOT - 64);
    batch.run(SIZE);
    expect(batch.result(0)).toBeLessThan(0);
  });
}

class Refusing extends Uring {
  #calls = 0;

  override run(count: number): number {
    this.#calls++;
    return this.#calls === 1 ? super.run(5) : super.run(Math.min(count, 0));
  }
}

/** False if a seccomp profile forbids io_uring, as is common in containers. The datapath then works without it. */
function hasUring(): boolean {
  try {
    return new Uring(1).size === 1;
  } catch {
    return false;
  }
}
