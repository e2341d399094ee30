from SCons.Script import AlwaysBuild, Default, DefaultEnvironment

env = DefaultEnvironment()
env.Replace(CC="cc", AS="cc", LINK="cc", AR="ar", RANLIB="ranlib")
env.Append(CCFLAGS=["-ffunction-sections", "-fdata-sections"], LINKFLAGS=["-Wl,--gc-sections"])

program = env.BuildProgram()
AlwaysBuild(env.Alias("exec", program, env.VerboseAction("$SOURCE $PROGRAM_ARGS", "Running $SOURCE")))
Default([program])
