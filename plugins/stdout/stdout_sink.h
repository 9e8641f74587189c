// The sink `stdout`: payloads to the agent's standard output. See runnel_sink.h for threads and lifetimes.
#pragma once

#include "runnel_sink.h"

extern "C" const runnel_sink* runnel_stdout_sink(void);
