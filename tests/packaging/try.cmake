# Configures, builds and runs the project in downstream/, which gets fastvit the given WAY.
file(REMOVE_RECURSE ${WORK})
set(run COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)

set(prefix ${WORK}/prefix)
if(WAY STREQUAL find_package)
    # Moved after the installation: the package files must not hold absolute paths.
    execute_process(COMMAND ${CMAKE_COMMAND} --install ${FASTVIT_BUILD} --prefix ${WORK}/staging ${run})
    file(RENAME ${WORK}/staging ${prefix})
    file(GLOB_RECURSE package_files ${prefix}/share/cmake/*)
    foreach(package_file IN LISTS package_files)
        file(READ ${package_file} text)
        string(FIND "${text}" "${FASTVIT_SOURCE}" position)
        if(NOT position EQUAL -1)
            message(FATAL_ERROR "${package_file} names the source directory")
        endif()
    endforeach()
endif()

execute_process(
    COMMAND ${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/downstream -B ${WORK}/build -G ${GENERATOR}
            -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_BUILD_TYPE=Debug -DWAY=${WAY} -DFASTVIT_SOURCE=${FASTVIT_SOURCE}
            -DVERSION=${VERSION} -DCMAKE_PREFIX_PATH=${prefix} ${run}
)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK}/build ${run})
foreach(program app mixed)
    if(EXISTS ${WORK}/build/${program})
        execute_process(COMMAND ${WORK}/build/${program} ${run})
    endif()
endforeach()
