/** Two charts of a bench's rows: throughput, and processor time a gigabyte. */

/** The fields of a row that charts use. */
export interface Figure {
  readonly work: string;
  readonly against: string;
  /** l2tp-cni's figure divided by the other side's. Null: not measured. */
  readonly ratio: number | null;
}

interface Bar {
  readonly side: string;
  /** The value relative to the kernel's VXLAN. */
  readonly value: number;
  readonly isOurs: boolean;
}

interface ChartSpec {
  readonly file: string;
  readonly title: string;
  readonly better: "More is better" | "Less is better";
  /** The row's name without a side. */
  readonly work: string;
}

export const CHARTS: readonly ChartSpec[] = [
  {
    file: "throughput.svg",
    title: "TCP throughput, one flow",
    better: "More is better",
    work: "TCP, 1 flow",
  },
  {
    file: "processor-time.svg",
    title: "Processor time for a gigabyte",
    better: "Less is better",
    work: "processors a gigabyte",
  },
];

/** The suffix of rows with the fast path. */
const FAST = ", fast path";
const REFERENCE = "kernel VXLAN";
/** The key is the side's name in the rows. */
const RIVALS = {
  "QEMU l2tpv3, UDP": "QEMU l2tpv3",
  "fastd null@l2tp": "fastd, no cipher",
  "OpenVPN, no cipher": "OpenVPN, no cipher",
} as const;

/**
 * @param rows of one run. A rival's bar is l2tp-cni's ratio to VXLAN divided by its ratio to the rival
 * @returns the picture as SVG; null if a row is missing or has no figure
 */
export function drawChart(spec: ChartSpec, rows: readonly Figure[]): string | null {
  const bars = barsOf(spec.work, rows);
  return bars === null ? null : draw(spec, bars);
}

/** @returns a bar for each side, l2tp-cni's first; null if a row is missing or has no figure */
export function barsOf(work: string, rows: readonly Figure[]): readonly Bar[] | null {
  const ratio = (name: string, against: string) =>
    rows.find((row) => row.work === name && row.against === against)?.ratio ?? Number.NaN;
  const process = ratio(work, REFERENCE);
  const bars = [
    { side: "l2tp-cni, fast path", value: ratio(`${work}${FAST}`, REFERENCE), isOurs: true },
    { side: "l2tp-cni, process", value: process, isOurs: true },
    { side: "Linux kernel VXLAN", value: 1, isOurs: false },
    ...Object.entries(RIVALS).map(([against, side]) => {
      return { side, value: process / ratio(work, against), isOurs: false };
    }),
  ];
  return bars.every(({ value }) => Number.isFinite(value)) ? bars : null;
}

const WIDTH = 720;
const LEFT = 180;
const RIGHT = 640;
const HEAD = 56;
const LINE = 30;
const BAR = 20;
const OURS = "#2a7f62";
const OTHERS = "#8a94a6";

function draw({ title, better }: ChartSpec, bars: readonly Bar[]): string {
  const most = Math.max(...bars.map(({ value }) => value));
  const height = HEAD + bars.length * LINE + 8;
  const lines = bars.map(({ side, value, isOurs }, index) => {
    const y = HEAD + index * LINE;
    const width = Math.max(1, ((RIGHT - LEFT) * value) / most);
    return [
      `<text x="${LEFT - 10}" y="${y + 15}" text-anchor="end">${side}</text>`,
      `<rect x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" fill="${isOurs ? OURS : OTHERS}"/>`,
      `<text x="${(LEFT + width + 8).toFixed(1)}" y="${y + 15}">${value.toFixed(2)} ×</text>`,
    ].join("\n");
  });
  const head = [
    `<text x="${LEFT}" y="20" font-size="16" font-weight="bold">${title}</text>`,
    `<text x="${LEFT}" y="40" fill="#555">${better}. Linux kernel VXLAN is 1.</text>`,
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="14">
<rect width="100%" height="100%" fill="#fff"/>
${[...head, ...lines].join("\n")}
</svg>
`;
}
