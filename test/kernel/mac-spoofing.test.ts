import { testInKernel } from "../harness/mac-spoofing.ts";

testInKernel();
