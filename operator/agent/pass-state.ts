/** The agent's knowledge after a pass. */
import type { Listing } from "../../datapath/datapath.ts";
import type { PresentLinks } from "../../model/attachments/index.ts";
import type { Intake, Rejection } from "../resolve/intake.ts";
import type { Programmed, Resolved } from "../resolve/resolved.ts";
import type { Failures } from "../resolve/status.ts";
import type { Withdrawn } from "../sources/source.ts";

export interface PassState {
  readonly intake: Intake;
  readonly rejections: readonly Rejection[];
  readonly withdrawn: readonly Withdrawn[];
  readonly resolved: Resolved;
  readonly failures: Failures;
  readonly programmed: Programmed;
  /** The listing before the pass. */
  readonly listing: Listing;
  /** The links after the pass. */
  readonly links: PresentLinks;
}
