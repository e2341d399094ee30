# Sets `bundle` to the agent bundle that the firmware carries.
if(NOT "$ENV{UTTERBIT_BUNDLE}" STREQUAL "")
    set(bundle "$ENV{UTTERBIT_BUNDLE}")
else()
    set(bundle "${CONFIG_UTTERBIT_BUNDLE}")
endif()
idf_build_get_property(project_dir PROJECT_DIR)
get_filename_component(bundle "${bundle}" ABSOLUTE BASE_DIR "${project_dir}")
if(NOT EXISTS "${bundle}" OR IS_DIRECTORY "${bundle}")
    message(FATAL_ERROR "${bundle}: there is no agent bundle to put into the firmware. `make agent` makes it; "
        "CONFIG_UTTERBIT_BUNDLE or the environment variable UTTERBIT_BUNDLE names another file.")
endif()
