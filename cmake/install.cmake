include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fastvit)

target_include_directories(fastvit INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# An installed package may be moved: the prefix is the one it is found at, unless the directory was given as an absolute path.
set(data_dir ${CMAKE_INSTALL_DATADIR})
if(NOT IS_ABSOLUTE "${data_dir}")
    set(data_dir $<INSTALL_PREFIX>/${data_dir})
endif()
target_compile_definitions(fastvit INTERFACE $<INSTALL_INTERFACE:FASTVIT_DATA_DIR="${data_dir}/fastvit/shapes">)

install(TARGETS fastvit fastvit_compiled EXPORT fastvit)
install(EXPORT fastvit NAMESPACE fastvit:: FILE fastvitTargets.cmake DESTINATION ${package_dir})
install(DIRECTORY include/fastvit DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp" PATTERN "*.inl" PATTERN "*.cpp")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(EXISTS ${PROJECT_SOURCE_DIR}/models/shapes)
    install(DIRECTORY models/shapes DESTINATION ${CMAKE_INSTALL_DATADIR}/fastvit)
endif()

configure_package_config_file(cmake/fastvitConfig.cmake.in fastvitConfig.cmake INSTALL_DESTINATION ${package_dir})
# While the version is 0.x, a new minor version may change the API.
write_basic_package_version_file(fastvitConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(
    FILES ${PROJECT_BINARY_DIR}/fastvitConfig.cmake ${PROJECT_BINARY_DIR}/fastvitConfigVersion.cmake
    DESTINATION ${package_dir}
)
