import { testInKernel, testInUserspace } from "../harness/mac-spoofing.ts";

testInUserspace();
testInKernel();
