// The sink `file`: payloads appended to a file, with rotation. See runnel_sink.h for threads and lifetimes.
#pragma once

#include "runnel_sink.h"

extern "C" const runnel_sink* runnel_file_sink(void);
