# The target seeded_networks: networks whose parameters follow from their names (seeded.hpp), for the tests and the benchmarks.
include_guard(GLOBAL)
add_library(
    seeded_networks STATIC ${CMAKE_CURRENT_LIST_DIR}/seeded.cpp ${CMAKE_CURRENT_LIST_DIR}/translators.cpp
                           ${CMAKE_CURRENT_LIST_DIR}/loader.cpp
)
get_filename_component(above ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)
target_include_directories(seeded_networks PUBLIC ${above})
target_link_libraries(seeded_networks PUBLIC fastvit::compiled PRIVATE fastvit_warnings)
