# Configures, builds and runs the project in downstream/, which gets fastvit the given WAYS, one after the other in one build
# directory: what a way builds as the one before it did is not built again.
cmake_minimum_required(VERSION 3.22)
file(REMOVE_RECURSE ${WORK})
set(run COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)

set(prefix ${WORK}/prefix)
if(find_package IN_LIST WAYS)
    # Moved after the installation: the package files must not hold absolute paths.
    execute_process(COMMAND ${CMAKE_COMMAND} --install ${FASTVIT_BUILD} --prefix ${WORK}/staging ${run})
    file(RENAME ${WORK}/staging ${prefix})
    file(GLOB_RECURSE package_files ${prefix}/${LIBDIR}/cmake/*)
    if(NOT package_files)
        message(FATAL_ERROR "no package files in ${prefix}/${LIBDIR}/cmake")
    endif()
    foreach(package_file IN LISTS package_files)
        file(READ ${package_file} text)
        string(FIND "${text}" "${FASTVIT_SOURCE}" position)
        if(NOT position EQUAL -1)
            message(FATAL_ERROR "${package_file} names the source directory")
        endif()
    endforeach()
endif()

# run_program(PROGRAM SOURCE): whatever way and form, all programs of one source give the same bits.
function(run_program program source)
    execute_process(COMMAND ${program} OUTPUT_VARIABLE answer ECHO_OUTPUT_VARIABLE ${run})
    if(NOT DEFINED ${source}_answer)
        set(${source}_answer "${answer}" PARENT_SCOPE)
    elseif(NOT answer STREQUAL ${source}_answer)
        message(FATAL_ERROR "${program} gives another answer than the first program of ${source}.cpp")
    endif()
endfunction()

foreach(way IN LISTS WAYS)
    execute_process(
        COMMAND ${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/downstream -B ${WORK}/build -G ${GENERATOR}
                -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_BUILD_TYPE=None -DWAY=${way} -DFASTVIT_SOURCE=${FASTVIT_SOURCE}
                -DVERSION=${VERSION} -DCMAKE_PREFIX_PATH=${prefix} ${run}
    )
    execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK}/build ${run})
    run_program(${WORK}/build/compiled app)
    if(way STREQUAL find_package)
        run_program(${WORK}/build/header_only app)
    else()
        run_program(${WORK}/build/header_only part)
        run_program(${WORK}/build/compiled_part part)
    endif()
endforeach()

# A user's project often sets no build type. The library is optimised all the same.
if(add_subdirectory IN_LIST WAYS)
    execute_process(
        COMMAND ${CMAKE_COMMAND} -E env --unset=CMAKE_BUILD_TYPE --unset=CXXFLAGS
                ${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/downstream -B ${WORK}/no_build_type -G ${GENERATOR}
                -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DWAY=add_subdirectory
                -DFASTVIT_SOURCE=${FASTVIT_SOURCE} ${run}
    )
    file(STRINGS ${WORK}/no_build_type/compile_commands.json command REGEX "\"command\": .* -c .*/fastvit/source\\.cpp")
    if(NOT command MATCHES " -O2 ")
        message(FATAL_ERROR "without a build type the library is compiled without -O2: ${command}")
    endif()
endif()

# The compiled form without CMake: one command.
if(find_package IN_LIST WAYS)
    if(NOT EXISTS ${prefix}/${LIBDIR}/libfastvit_compiled.a)
        message(FATAL_ERROR "the library is not in ${prefix}/${LIBDIR}")
    endif()
    execute_process(
        COMMAND ${COMPILER} -std=c++20 -I${prefix}/${INCLUDEDIR} -DFASTVIT_COMPILED
                "-DFASTVIT_DATA_DIR=\"${prefix}/${DATADIR}/fastvit/shapes\"" ${CMAKE_CURRENT_LIST_DIR}/downstream/app.cpp
                ${prefix}/${INCLUDEDIR}/fastvit/source.cpp -pthread -o ${WORK}/by_hand ${run}
    )
    run_program(${WORK}/by_hand app)
endif()
